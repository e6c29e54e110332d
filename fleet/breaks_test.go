package fleet_test

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var breakRules = flag.Bool("breaks", false, "break each rule of the protocol, and require that the other tests notice")

// A brk is a deliberate break: a text of the code, and the text that replaces it.
type brk struct{ name, file, old, new string }

var breaks = []brk{
	{"lease dated when the heartbeat is delivered", "session.go",
		"s.n.cfg.clock.Now(), b.t0.Add(s.meta.Lease)", "s.n.cfg.clock.Now(), s.n.cfg.clock.Now().Add(s.meta.Lease)"},
	{"lease dated at the acknowledgement", "session.go",
		"		b.acked <- pos\n	})", "		b.t0 = s.n.cfg.clock.Now()\n		b.acked <- pos\n	})"},
	{"lease renewed at the acknowledgement, unseen", "session.go",
		"			overdue.Reset(s.real(s.n.waits))\n		case err := <-failed", "			if s.began {\n				u := s.beat.t0.Add(lease)\n				s.until.Store(&u)\n				s.n.caches.Lease(u)\n				lapse.Reset(s.real(time.Until(u)))\n			}\n			overdue.Reset(s.real(s.n.waits))\n		case err := <-failed"},
	{"lease renewed when the heartbeat is delivered, unacknowledged", "session.go",
		"s.beat != nil && s.beat.known && s.beat.at > 0", "s.beat != nil && s.beat.at > 0"},
	{"heartbeat kept for the node's lease, where the log's is longer", "session.go",
		"s.beat == nil || s.beat.entry.TTL < keep*s.meta.Lease", "s.beat == nil"},
	{"eviction kept for the node's lease, where the log's is longer", "progress.go",
		"return p.ttl > 0 && p.ttl < keep*p.lease }", "return false }"},
	{"lease renewed while the connection seems alive", "session.go",
		"			sleep.Reset(s.real(lease / 60))\n", "			if s.began {\n				u := s.n.cfg.clock.Now().Add(lease)\n				s.until.Store(&u)\n				s.n.caches.Lease(u)\n				lapse.Reset(s.real(lease))\n			}\n			sleep.Reset(s.real(lease / 60))\n"},
	{"heartbeat counted although something was skipped", "session.go",
		"s.beat.void = true", "s.beat.void = false"},
	{"clear after serving", "session.go",
		"	s.n.caches.Clear(context.Background(), tokencache.CauseNode)\n	s.n.current.Store(s)\n	s.n.caches.Lease(until)\n",
		"	s.n.current.Store(s)\n	s.n.caches.Lease(until)\n	s.n.caches.Clear(context.Background(), tokencache.CauseNode)\n"},
	{"no clearing before serving", "session.go",
		"	s.n.caches.Clear(context.Background(), tokencache.CauseNode)\n	s.n.current.Store(s)\n", "	s.n.current.Store(s)\n"},
	{"a session that ends goes on serving", "session.go",
		"	s.n.caches.Lease(s.n.cfg.clock.Now())\n	s.n.current.Store(nil)\n", "	s.n.current.Store(nil)\n"},
	{"overlap not checked", "session.go", "if !s.replay.matches(m) {", "if false {"},
	{"identity not checked, and a lost heartbeat forgiven", "session.go",
		"			return fmt.Errorf(\"%w: %w\", errRefused, err)\n", "			s.beat = nil\n			_ = err\n			u := s.n.cfg.clock.Now().Add(lease)\n			s.until.Store(&u)\n			s.n.caches.Lease(u)\n			lapse.Reset(s.real(lease))\n"},
	{"gap ignored: the follower is opened anew where the heartbeat is", "session.go",
		"	return nil\n}\n\n// owed reports", "	s.last = pos\n	return nil\n}\n\n// owed reports"},
	{"acknowledged before it is applied", "session.go",
		"	counts := s.apply(ctx, m)\n", "	s.answer(m, nil)\n	counts := s.apply(ctx, m)\n"},
	{"evictions not applied", "session.go", "return s.n.caches.Evict(ctx, tokencache.CauseNode, e.selector)", "return map[string]int{e.selector.String(): 0}"},
	{"documents not applied", "session.go", "		s.n.documentChanged(e.document)\n", ""},
	{"suspension not noticed", "session.go",
		"			if s.n.cfg.clock.Suspended()-s.asleep > 10*time.Millisecond {\n				return errSuspended\n			}\n			sleep", "			sleep"},
	{"members asked before the append", "membership.go", "	case v.Position < pos:\n		return errBehind\n", ""},
	{"nobody waits for silent nodes", "progress.go", "	return answered || ", "	return true || answered || "},
	{"a session that joined before the change is not waited for", "progress.go", "m.joined() > p.pos && (m.viewed", "m.joined() > 0 && (m.viewed"},
	{"young log not waited for", "progress.go", "p.read != nil && p.read.settled &&", "p.read != nil &&"},
	{"short wait", "lease.go", "return d + d/1e6*(2*driftPPM+driftPPM/100)", "return d - d/20"},
	{"drift not allowed for", "lease.go", "return d + d/1e6*(2*driftPPM+driftPPM/100)", "return d"},
	{"wait dated before the append", "change.go",
		"	pos, err := n.append(ctx, c.entry, failed)\n", "	t1 := n.cfg.clock.Now()\n	pos, err := n.append(ctx, c.entry, failed)\n"},
	{"stale read", "index.go", "if v.Position < least {", "if v.Position+1 < 1 {"},
	{"read from a log that was replaced", "index.go", "metaOf(v).Log != s.meta.Log || ", ""},
	{"read from a log that was rolled back", "index.go", " || v.Messages[s.id.key()].Position < anchor {", " {"},
	{"a change found at another place believed", "membership.go", "(m.ID != entry.ID || m.Position != pos)", "m.ID != entry.ID"},
	{"a change that its log has lost is waited for", "progress.go", "return mark.t0.After(p.t1) && mark.pos < p.pos }", "return false }"},
	{"reads outlive their session", "index.go", "defer context.AfterFunc(s.life, func() { cancel(ErrNotServing) })()", "defer context.AfterFunc(s.life, func() {})()"},
	{"a view of another log believed", "membership.go", " && meta.Log != log.Log:", " && meta.Log != log.Log && pos == 0:"},
	{"a change whose key was taken waits for ever", "attempts.go", "errors.Is(err, errTaken) || ", ""},
	{"a change whose key was taken is taken for one of the new log", "change.go", "err == nil && log != \"\" && n.logOf(c).Log != log:", "err == nil && log == \"?\":"},
	{"this node not waited for", "progress.go", "return !m.left && !p.applied(k, m)", "return !m.left && m.id.process != k.own && !p.applied(k, m)"},
	{"a member that was heard is forgotten if a view leaves it out", "membership.go", "		if h.later(last[process]) {", "		if false && h.later(last[process]) {"},
	{"a dead node not waited for until its lease is over", "lease.go", " && w.t0.After(h.until)", " && w.t0.After(h.heard)"},
	{"a dead node's heartbeat taken for a later one", "lease.go", "h.append == m.append && ", ""},
	{"a dead node not waited for by a node that has missed something", "lease.go", " && w.session == h.by && ", " && "},
	{"a record of an unknown kind passed over", "record.go", "	return effect{clear: true}\n", "	return effect{clear: strings.HasPrefix(m.Key, evictPrefix) || strings.HasPrefix(m.Key, docPrefix)}\n"},
	{"a record of an unknown kind not answered", "record.go", "return key != metaKey && ", "return (strings.HasPrefix(key, evictPrefix) || strings.HasPrefix(key, docPrefix)) && key != metaKey && "},
	{"unknown fields passed over", "record.go", "	d.DisallowUnknownFields()\n", ""},
	{"a log of a later version joined", "session.go", "	case record.Version > c.version:\n		return", "	case false:\n		return"},
	{"a conflict of a repeated append taken for one", "attempts.go", "	case earlier:\n", "	case false:\n"},
	{"a heartbeat counts as a watermark although something was skipped", "session.go", "	if b.void {\n", "	if s.began {\n		s.n.marked(watermark{b.t0, b.at, s.id.n})\n	}\n	if b.void {\n"},
	{"a slow follower given up each time", "lease.go", "return doubled(took, lease/15, lease/3) }", "return lease / 15 }"},
	{"lease not checked on a hit", "simcache_test.go", "ok && valid {", "ok {"},
	{"lease not checked on a miss", "simcache_test.go", "	if !valid { //", "	if !valid && c.loads == nil { //"},
	{"loads in flight kept", "simcache_test.go", "			load.registered = false\n			delete(c.loads, k)\n", "			_ = load\n"},
}

// also is a second text to replace, for breaks that take two.
var also = map[string]brk{
	"suspension not noticed": {"", "session.go",
		"	if s.n.cfg.clock.Suspended()-s.asleep > 10*time.Millisecond {\n		return errSuspended\n	}\n	if b.void", "	if b.void"},
	"wait dated before the append":    {"", "change.go", "pos: pos, t1: n.cfg.clock.Now()})", "pos: pos, t1: t1})"},
	"members asked before the append": {"", "change.go", "	if view.Messages[c.entry.Key].Position < pos {\n		return nil, errLost\n	}\n", ""},
}

// TestBreaks shows that the tests of the protocol would notice if a rule were
// broken. It takes some minutes:
//
//	go test ./fleet -run TestBreaks -breaks -v -timeout 60m
func TestBreaks(t *testing.T) {
	if !*breakRules {
		t.Skip("it runs with -breaks")
	}
	killed := 0
	for _, b := range breaks {
		t.Run(b.name, func(t *testing.T) {
			if by := try(t, b); by != "" {
				killed++
				t.Logf("noticed by %s", by)
			} else {
				t.Error("no test noticed")
			}
		})
	}
	t.Logf("noticed %d of %d", killed, len(breaks))
}

// try runs the tests on a broken copy, and returns what failed first.
func try(t *testing.T, b brk) string {
	overlay := filepath.Join(t.TempDir(), "overlay.json")
	files := make(map[string]string)
	for _, part := range []brk{b, also[b.name]} {
		if part.file != "" {
			files[part.file] = part.apply(t, files[part.file])
		}
	}
	replace := make(map[string]string)
	for name, text := range files {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		abs, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		replace[abs] = path
	}
	data, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(overlay, data, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"-skip", "TestHistories|TestBreaks|Example"},
		{"-run", "TestHistories", "-histories", "3000", "-seed", "100000"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, "go", append([]string{"test", "-timeout", "5m", "-overlay", overlay, "."}, args...)...).CombinedOutput()
		if strings.Contains(string(out), "[build failed]") {
			t.Fatalf("it does not compile:\n%s", out)
		}
		if err != nil {
			return firstFailure(string(out))
		}
	}
	return ""
}

// firstFailure names the test that failed first, and what it said.
func firstFailure(out string) string {
	test, said := "", ""
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "--- FAIL: "); ok && test == "" {
			test, _, _ = strings.Cut(name, " ")
		}
		if said == "" && (strings.Contains(line, "_test.go:") || strings.HasPrefix(line, "panic:")) {
			said = line
		}
	}
	return cmp.Or(test, "the run") + ": " + said
}

// apply makes the break in a file's text. It is an error if the code no longer has the
// text: the break has to follow the code.
func (b brk) apply(t *testing.T, text string) string {
	if text == "" {
		data, err := os.ReadFile(b.file)
		if err != nil {
			t.Fatal(err)
		}
		text = string(data)
	}
	if n := strings.Count(text, b.old); n != 1 {
		t.Fatalf("%s has the text to break %d times, want once:\n%s", b.file, n, b.old)
	}
	return strings.Replace(text, b.old, b.new, 1)
}

// TestBreakAnchors: the text of each break is in the code once.
func TestBreakAnchors(t *testing.T) {
	for _, b := range breaks {
		t.Run(b.name, func(t *testing.T) {
			text := b.apply(t, "")
			if second, ok := also[b.name]; ok {
				if second.file != b.file {
					text = ""
				}
				second.apply(t, text)
			}
		})
	}
}
