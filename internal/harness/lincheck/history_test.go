package lincheck

import (
	"flag"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/svctoken/svctoken/tokencache"
)

var (
	histories = flag.Int("histories", 7200, "how many histories to run, over all profiles")
	firstSeed = flag.Uint64("seed", 1, "the first history's seed; the others count up")
	onlyThis  = flag.String("profile", "", "run this profile alone")
)

// TestHistories runs random programs, and asks porcupine to explain what they saw. A
// failure names the seed, and leaves a picture of the history; a seed gives the same
// program again, though not the same schedule:
//
//	go test -C internal/harness/lincheck . -run TestHistories -seed 17 -histories 7200
func TestHistories(t *testing.T) {
	var next atomic.Uint64
	shown := make([]finding, len(profiles))
	var mu sync.Mutex // guards shown
	var wg sync.WaitGroup
	for range max(2, runtime.GOMAXPROCS(0)) {
		dir := t.TempDir()
		wg.Go(func() {
			for !t.Failed() {
				n := next.Add(1) - 1
				if n >= uint64(*histories) {
					return
				}
				i := n % uint64(len(profiles))
				if p := profiles[i]; *onlyThis == "" || *onlyThis == p.name {
					found := check(t, *firstSeed+n, p, dir)
					mu.Lock()
					shown[i].add(found)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for i := range shown {
		t.Logf("profile %q: %d times; without an answer: %v", profiles[i].name, shown[i].shown, shown[i].unanswered)
		if shown[i].shown == 0 && *onlyThis == "" && *histories >= enough*len(profiles) {
			t.Errorf("profile %q: the events for which it exists have not happened once", profiles[i].name)
		}
	}
}

// enough is how many histories of a profile show the events for which it exists.
const enough = 150

// attempts is how often a program is run until porcupine can tell. On a busy machine
// nearly all of a program's steps may overlap, and there are too many orders to try in
// a minute.
const attempts = 3

// add adds what another history has shown.
func (f *finding) add(other finding) {
	f.shown += other.shown
	if f.unanswered == nil {
		f.unanswered = make(map[tokencache.Reason]int)
	}
	for reason, n := range other.unanswered {
		f.unanswered[reason] += n
	}
}

// check runs one program, and returns what it has shown.
func check(t *testing.T, seed uint64, p profile, dir string) finding {
	for attempt := 1; ; attempt++ {
		history, found, err := run(seed, p, dir)
		if err != nil {
			t.Errorf("seed %d, profile %q: %v", seed, p.name, err)
			return found
		}
		result, info := porcupine.CheckOperationsVerbose(model(p.loose), history, time.Minute)
		if result == porcupine.Ok {
			return found
		}
		if result == porcupine.Unknown && attempt < attempts {
			t.Logf("seed %d, profile %q: porcupine could not tell; running it again", seed, p.name)
			continue
		}
		picture := filepath.Join(t.ArtifactDir(), "history.html")
		if err := porcupine.VisualizePath(model(p.loose), info, picture); err != nil {
			t.Error(err)
		}
		t.Errorf("seed %d, profile %q: %v, see %s (go test -artifacts keeps it)", seed, p.name, result, picture)
		return found
	}
}
