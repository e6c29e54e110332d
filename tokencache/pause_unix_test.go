//go:build unix

package tokencache_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

var pause = flag.Bool("pause", false, "stop a process with SIGSTOP until its entries have expired; takes 80 seconds")

// TestStoppedProcess stops a process past the TTL of what it remembers, with SIGSTOP,
// and lets it go on: the system's clock has gone on meanwhile, and the timer that
// notes the time has not. No hit is confirmed more than two seconds past its TTL,
// which Config.TTL promises. TestPausedProcess asks the same of the clock's rules.
func TestStoppedProcess(t *testing.T) {
	if os.Getenv("SVCTOKEN_STOPPED") != "" {
		hitPastTTL()
		os.Exit(0)
	}
	if !*pause {
		t.Skip("takes 80 seconds; -pause runs it")
	}
	child := exec.Command(os.Args[0], "-test.run", "^TestStoppedProcess$")
	child.Env = append(os.Environ(), "SVCTOKEN_STOPPED=1")
	child.Stderr = os.Stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer child.Process.Kill()
	out := bufio.NewReader(stdout)
	if line, err := out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("got %q, %v, want ready", line, err)
	}
	stopped := time.Now()
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(stoppedTTL + time.Second)
	if err := child.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var hits int
	var latest time.Duration
	if _, err := fmt.Sscan(strings.TrimSpace(line), &hits, &latest); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	t.Logf("stopped for %v; then %d hits past the TTL, the last %v past it", time.Since(stopped).Round(time.Second), hits, latest)
	if latest > 2*time.Second {
		t.Errorf("a hit was confirmed %v past its TTL", latest)
	}
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}

// stoppedTTL is more than the minute below which a hit reads the clock itself.
const stoppedTTL = 65 * time.Second

// hitPastTTL is the process that is stopped. It goes on for ten seconds after the
// TTL, and prints how many hits it had then, and how late the last one was. It holds
// so many tokens that a sweep does not find them all at once.
func hitPastTTL() {
	src := newTestSource()
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	tokencache.New(g, "test", src, tokencache.Config{TTL: stoppedTTL, Jitter: -1})
	var authorizations []string
	for i := range 20_000 {
		token, _ := tokencache.NewToken(fleet.TokenID(fmt.Sprint("token-", i)), tokencache.NewSecret("supersecret"))
		src.set(token)
		authorizations = append(authorizations, header(token))
		if _, err := g.Authenticate(context.Background(), authorizations[i]); err != nil {
			fmt.Println(err)
			return
		}
		src.remove(token.ID())
	}
	expires := time.Now().Add(stoppedTTL) // a bit late: the loads began before
	fmt.Println("ready")
	hits, latest := 0, time.Duration(0)
	for i := 0; time.Since(expires) < 10*time.Second; i++ {
		before := time.Since(expires)
		if _, err := g.Authenticate(context.Background(), authorizations[i%len(authorizations)]); err == nil && before > 0 {
			hits, latest = hits+1, before
		}
	}
	fmt.Println(hits, latest.Nanoseconds())
}
