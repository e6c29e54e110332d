package filesource

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatch: a file has rested since the first look that saw it as it is. What was known
// of it before counts, but not that it was missing. Time in which nobody looked is not
// unrest.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "service_tokens")
		save := func(text string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		save("# one\n")
		f, err := Open(path, Config{Poll: -1, Rest: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		time.Sleep(time.Second)
		w := &watch{File: f, known: f.knowledge.Load()}
		look := func(when string, changed bool, rested, restless time.Duration) {
			t.Helper()
			if got := w.look(); got != changed || w.rested() != rested || w.restless.Round(time.Millisecond) != restless {
				t.Errorf("%s: changed %v, has rested for %v, restless for %v; want %v, %v, %v", when, got, w.rested(), w.restless, changed, rested, restless)
			}
		}
		look("known before", true, time.Second, 0)
		time.Sleep(30 * time.Millisecond)
		look("the same", false, time.Second+30*time.Millisecond, 30*time.Millisecond)
		save("# another\n")
		look("changed", true, 0, 30*time.Millisecond)
		time.Sleep(10 * time.Second) // the process was kept from running
		look("the same", false, 10*time.Second, 70*time.Millisecond)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		look("gone", true, 0, 70*time.Millisecond)
		if err := f.Reload(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w = &watch{File: f, known: f.knowledge.Load()}
		look("missing before", true, 0, 0)
	})
}

// TestWouldShow: a later write shows in a look if the file was seen for longer than the
// clock of the file system takes for a tick.
func TestWouldShow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "service_tokens")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		stamp time.Time
		tick  time.Duration
	}{
		{time.Date(2037, 1, 1, 0, 0, 0, 1000, time.UTC), 100 * time.Millisecond},
		{time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC), 3 * time.Second},
	} {
		if err := os.Chtimes(path, time.Time{}, test.stamp); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		w := &watch{last: sighting{info: info}, since: time.Now()}
		if w.wouldShow(w.since.Add(test.tick)) || !w.wouldShow(w.since.Add(test.tick+1)) {
			t.Errorf("stamped %v: not after %v", test.stamp, test.tick)
		}
	}
	if w := (&watch{since: time.Now()}); w.wouldShow(w.since.Add(fineTick)) || !w.wouldShow(w.since.Add(fineTick+1)) {
		t.Error("a missing file waits for another tick")
	}
}
