//go:build linux

package processes_test

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var breakRules = flag.Bool("breaks", false, "break rules of the protocol, and require that real faults show it")

// TestBreaks shows that TestFaults would notice if a rule were broken. Package fleet
// has a list of all rules, which the simulation and its tests notice; these are those
// that one fault is expected to show in two minutes:
//
//	go -C fleet/fleetnats/natstest test ./processes -run TestBreaks -breaks -v -timeout 30m
func TestBreaks(t *testing.T) {
	if !*breakRules {
		t.Skip("it runs with -breaks")
	}
	for _, b := range []struct{ name, fault, file, old, new string }{
		{"evictions not applied", "server paused", "fleet/session.go",
			"return s.n.caches.Evict(ctx, tokencache.CauseNode, sel)", "return map[string]int{sel.String(): 0}"},
		{"documents not applied", "server paused", "fleet/session.go", "			s.n.documentChanged(id)\n", "			_ = id\n"},
		{"lease not checked on a hit", "node stopped", "tokencache/hit.go", "	if s == nil || g.lapsed() || !e.live() {", "	if s == nil || !e.live() {"},
		{"nobody waits for silent nodes", "node cut off", "fleet/change.go", "	return !ok\n}\n\ntype polled", "	return !ok && false\n}\n\ntype polled"},
		{"half a lease waited for", "node cut off", "fleet/clock.go", "return d + d/1e6*(2*driftPPM+driftPPM/100)", "return d / 2"},
		{"lease renewed while the connection seems alive", "node's receiving cut", "fleet/session.go",
			"			sleep.Reset(s.real(lease / 60))\n", "			if s.began {\n				u := s.n.cfg.clock.Now().Add(lease)\n				s.until.Store(&u)\n				s.n.caches.Lease(u)\n				lapse.Reset(s.real(lease))\n			}\n			sleep.Reset(s.real(lease / 60))\n"},
		{"stale read", "minority cut off", "fleet/index.go", "if v.Position < least {", "if v.Position+1 < 1 {"},
	} {
		t.Run(b.name, func(t *testing.T) {
			binary := build(t, b.file, b.old, b.new)
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, binary, "-test.run", "^TestFaults$", "-for", "2m", "-fault", b.fault, "-net", "proxies").CombinedOutput()
			if err == nil {
				t.Fatalf("nothing was noticed:\n%s", out)
			}
			for line := range strings.Lines(string(out)) {
				if wrong.MatchString(line) {
					t.Logf("noticed while the fault was %q: %s", b.fault, strings.TrimSpace(line))
					return
				}
			}
			t.Fatalf("it failed otherwise:\n%s", out)
		})
	}
}

// wrong is how a line of world.authenticate, world.bound or world.until begins.
var wrong = regexp.MustCompile(`_test\.go:\d+: (node \d of token|an eviction at node|after .* it does not hold)`)

// build builds this test with a text of a file, which stands there once, replaced.
func build(t *testing.T, file, old, replacement string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../../..", file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), old); n != 1 {
		t.Fatalf("%s has the text to break %d times, want once:\n%s", file, n, old)
	}
	dir := t.TempDir()
	broken, overlay, binary := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "broken.test")
	data, err := json.Marshal(map[string]any{"Replace": map[string]string{path: broken}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{broken: strings.Replace(string(text), old, replacement, 1), overlay: string(data)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("it does not compile:\n%s", out)
	}
	return binary
}
