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
	"strconv"
	"strings"
	"testing"
	"time"
)

var breakRules = flag.Bool("breaks", false, "break rules of the protocol, and require that real faults show it")

// A brk is a deliberate break, and the fault that shows it.
type brk struct {
	name, fault string
	edit
}

var breaks = []brk{
	{"evictions not applied", "server paused", edit{"fleet/session.go",
		"return s.n.caches.Evict(ctx, tokencache.CauseNode, e.selector)", "return map[string]int{e.selector.String(): 0}"}},
	{"documents not applied", "server paused", edit{"fleet/session.go", "		s.n.documentChanged(e.document)\n", ""}},
	{"lease not checked on a hit", "node stopped", edit{"tokencache/hit.go", "	case g.lapsed():\n", "	case e == nil && g.lapsed():\n"}},
	{"nobody waits for silent nodes", "node cut off", edit{"fleet/progress.go", "	return answered || ", "	return true || answered || "}},
	{"half a lease waited for", "node cut off", edit{"fleet/lease.go", "return d + d/1e6*(2*driftPPM+driftPPM/100)", "return d / 2"}},
	{"lease renewed while the connection seems alive", "node's receiving cut", edit{"fleet/session.go",
		"			sleep.Reset(s.real(lease / 60))\n", "			if s.began {\n				u := s.n.cfg.clock.Now().Add(lease)\n				s.until.Store(&u)\n				s.n.caches.Lease(u)\n				lapse.Reset(s.real(lease))\n			}\n			sleep.Reset(s.real(lease / 60))\n"}},
	{"stale read", "minority cut off", edit{"fleet/index.go", "if v.Position < least {", "if v.Position+1 < 1 {"}},
}

// TestBreakAnchors: the text of each break is in the code once, and so are the texts that
// the later version changes.
func TestBreakAnchors(t *testing.T) {
	edits := laterVersion
	for _, b := range breaks {
		edits = append(edits, b.edit)
	}
	for _, e := range edits {
		e.apply(t)
	}
}

// TestBreaks shows that TestFaults would notice if a rule were broken. Package fleet
// has a list of all rules, which the simulation and its tests notice; these are those
// that one fault is expected to show in two minutes:
//
//	go -C fleet/fleetnats/natstest test ./internal/processes -run TestBreaks -breaks -v -timeout 30m
func TestBreaks(t *testing.T) {
	if !*breakRules {
		t.Skip("it runs with -breaks")
	}
	for _, b := range breaks {
		t.Run(b.name, func(t *testing.T) {
			binary := build(t, b.edit)
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, binary, "-test.run", "^TestFaults$", "-for", "2m", "-fault", b.fault, "-net", "proxies").CombinedOutput()
			if err == nil {
				t.Fatalf("nothing was noticed:\n%s", out)
			}
			by := make(map[bool]string) // whether it is the second checker: the first line of each
			for line := range strings.Lines(string(out)) {
				if second := strings.Contains(line, "the second checker: "); wrong.MatchString(line) && by[second] == "" {
					by[second] = strings.TrimSpace(line)
				}
			}
			if len(by) == 0 {
				t.Fatalf("it failed otherwise:\n%s", out)
			}
			t.Logf("noticed while the fault was %q, by the ledgers: %q; by the second checker: %q", b.fault, by[false], by[true])
		})
	}
}

// wrong matches the beginning of a line of world.authenticate, world.bound, world.until
// or the second checker.
var wrong = regexp.MustCompile(`_test\.go:\d+: (node \d of token|an eviction at node|after .* it does not hold|the second checker)`)

// An edit replaces a text that a file has once.
type edit struct{ file, old, new string }

// apply returns the file's path, and its text with the edit.
func (e edit) apply(t *testing.T) (path, text string) {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../../../..", e.file))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(data), e.old); n != 1 {
		t.Fatalf("%s has the text to change %d times, want once:\n%s", e.file, n, e.old)
	}
	return path, strings.Replace(string(data), e.old, e.new, 1)
}

// build builds this test with edits, each of another file.
func build(t *testing.T, edits ...edit) (binary string) {
	t.Helper()
	dir := t.TempDir()
	replace := make(map[string]string)
	for i, e := range edits {
		path, text := e.apply(t)
		replace[path] = filepath.Join(dir, strconv.Itoa(i)+".go")
		if err := os.WriteFile(replace[path], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "changed.test")
	if err := os.WriteFile(overlay, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("it does not compile:\n%s", out)
	}
	return binary
}
