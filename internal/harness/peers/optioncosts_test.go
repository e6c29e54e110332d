package peers_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers"
	"github.com/svctoken/svctoken/internal/harness/peers/options"
)

// TestOptions counts what each option adds to the instructions of a hit: most of them
// nothing. Where a name falls in the cache's table is random, and a hit that compares the
// hash of another one first takes ten instructions more.
func TestOptions(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	const chance = 15
	most := map[string]float64{"RefreshAhead": 10, "KnownAccount": 150}
	within(t, func() (what string, met bool) {
		counts, clock, err := peers.OptionInstructions()
		if errors.Is(err, peers.ErrNoSteps) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		// The median is that of the options that add nothing. In one run, the hits' counters
		// may have one reading of the clock more or less.
		plain := slices.Sorted(slices.Values(counts))[len(counts)/2]
		// A hit with a lease reads the clock, which takes 180 to 230, by the machine.
		most["a lease"], most["all of them"] = clock+75, clock+175
		met = true
		for i, o := range options.All {
			more := counts[i] - plain
			what += fmt.Sprintf("\n%s: %.1f instructions, %+.1f, want at most %+.0f", o.Name, counts[i], more, most[o.Name]+chance)
			met = met && more <= most[o.Name]+chance
		}
		return what, met
	})
}
