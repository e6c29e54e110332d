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
)

var (
	histories = flag.Int("histories", 7200, "how many histories to run, over all profiles")
	firstSeed = flag.Uint64("seed", 1, "the first history's seed; the others count up")
	onlyThis  = flag.String("profile", "", "run this profile alone")
)

// TestHistories runs random programs and has porcupine explain what they saw. A
// failure names the seed, and leaves a picture of the history; a seed gives the
// same program again, though not the same schedule:
//
//	go test -C internal/harness/lincheck . -run TestHistories -seed 17 -histories 7200
func TestHistories(t *testing.T) {
	var next atomic.Uint64
	shown := make([]atomic.Uint64, len(profiles))
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
					shown[i].Add(check(t, *firstSeed+n, p, dir))
				}
			}
		})
	}
	wg.Wait()
	for i := range shown {
		n := shown[i].Load()
		t.Logf("profile %q: %d times", profiles[i].name, n)
		if n == 0 && *onlyThis == "" && *histories >= enough*len(profiles) {
			t.Errorf("profile %q: what it is there for has not happened once", profiles[i].name)
		}
	}
}

// enough is how many histories of each profile show what it is there for.
const enough = 200

// attempts is how often a program is run until porcupine can tell. On a busy machine
// nearly all of a program's steps may overlap, and there are too many orders to try in
// a minute.
const attempts = 3

// check runs one program, and returns how often what its profile is there for has
// happened.
func check(t *testing.T, seed uint64, p profile, dir string) (shown uint64) {
	for attempt := 1; ; attempt++ {
		history, shown, err := run(seed, p, dir)
		if err != nil {
			t.Errorf("seed %d, profile %q: %v", seed, p.name, err)
			return shown
		}
		result, info := porcupine.CheckOperationsVerbose(model(p.loose), history, time.Minute)
		if result == porcupine.Ok {
			return shown
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
		return shown
	}
}
