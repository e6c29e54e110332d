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
	histories = flag.Int("histories", 7000, "how many histories to run, over all profiles")
	firstSeed = flag.Uint64("seed", 1, "the first history's seed; the others count up")
	onlyThis  = flag.String("profile", "", "run this profile alone")
)

// TestHistories runs random programs and has porcupine explain what they saw. A
// failure names the seed, and leaves a picture of the history; a seed gives the
// same program again, though not the same schedule:
//
//	go test -C internal/lincheck . -run TestHistories -seed 17 -histories 7000
func TestHistories(t *testing.T) {
	var next atomic.Uint64
	var wg sync.WaitGroup
	for range max(2, runtime.GOMAXPROCS(0)) {
		dir := t.TempDir()
		wg.Go(func() {
			for !t.Failed() {
				n := next.Add(1) - 1
				if n >= uint64(*histories) {
					return
				}
				p := profiles[n%uint64(len(profiles))]
				if *onlyThis == "" || *onlyThis == p.name {
					check(t, *firstSeed+n, p, dir)
				}
			}
		})
	}
	wg.Wait()
}

func check(t *testing.T, seed uint64, p profile, dir string) {
	history, err := run(seed, p, dir)
	if err != nil {
		t.Errorf("seed %d, profile %q: %v", seed, p.name, err)
		return
	}
	result, info := porcupine.CheckOperationsVerbose(model(p.loose), history, time.Minute)
	if result == porcupine.Ok {
		return
	}
	picture := filepath.Join(t.ArtifactDir(), "history.html")
	if err := porcupine.VisualizePath(model(p.loose), info, picture); err != nil {
		t.Error(err)
	}
	t.Errorf("seed %d, profile %q: %v, see %s (go test -artifacts keeps it)", seed, p.name, result, picture)
}
