package enginetest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svctoken/svctoken/internal/harness/pgserver"
)

const startsServer = "SQLINDEX_TEST_STARTS_SERVER"

// startServer is the main of a process that starts a PostgreSQL and does not end.
func startServer() int {
	s, err := pgserver.Start("fsync = off")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(s.Dir())
	time.Sleep(time.Minute) // until it is killed
	return 1
}

// TestServerEndsWithItsProcess: a process that is killed leaves no PostgreSQL behind, and
// the server does not run as root.
func TestServerEndsWithItsProcess(t *testing.T) {
	if _, err := server(); err != nil {
		pgserver.Need(t, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), startsServer+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	dir := strings.TrimSpace(line)
	if err != nil || !strings.HasPrefix(dir, "/") {
		t.Fatalf("got %q, %v", line, err)
	}
	info, err := os.Stat(dir + "/data/postmaster.pid")
	if err != nil {
		t.Fatal(err)
	}
	if info.Sys().(*syscall.Stat_t).Uid == 0 {
		t.Error("the server runs as root")
	}
	cmd.Process.Kill()
	cmd.Wait()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%s is still there", dir)
		}
	}
}
