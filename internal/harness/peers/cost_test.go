package peers_test

import (
	"fmt"
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers"
)

// TestCosts guards what does not depend on how busy the machine is, or hardly: what a
// miss allocates, what a token takes, and that an eviction costs the same in a cache
// a hundred times as large.
func TestCosts(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	if got, most := peers.MissAllocations(), 8.0; got > most {
		t.Errorf("a miss allocates %v times, want at most %v", got, most)
	}
	if got := peers.SvctokenMemory(125_000).PerToken; got > 195 { // fills the table like a million
		t.Errorf("a token takes %.0f bytes, want at most 195", got)
	}
	c := peers.Evictions(31, 1e3, 1e5)
	if r := c.Ratio("100000 others", "1000 others"); r.Best > 1.5 {
		t.Errorf("an eviction among 10^5 tokens against one among 10^3: %v", r)
	} else {
		t.Log(r)
	}
}

// within measures up to three times, until a limit is met. What other programs do to
// the processor's caches makes a measurement larger, never smaller, so the smallest
// of three says most; code that is too slow is too slow each time.
func within(t *testing.T, measure func() (what string, met bool)) {
	t.Helper()
	for attempt := 1; ; attempt++ {
		what, met := measure()
		t.Log(what)
		if met {
			return
		}
		if attempt == 3 {
			t.Fatal("not within the limits, three times in a row")
		}
	}
}

// TestCrowd: serving 10 000 callers of one load costs little more than waking them.
// The best round of the bare channel is a lucky one now and then, so that the median
// says as much as the ratio of the best.
func TestCrowd(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	within(t, func() (what string, met bool) {
		c := peers.Crowd(15)
		r, grown := c.Ratio("svctoken", "bare channel"), c.Ratio("svctoken", "bare channel, grown stacks")
		return fmt.Sprintf("serving a crowd takes %v of what a bare channel does, want at most 2, and %v on grown stacks, want at most 1.6", r, grown),
			min(r.Best, r.Median) <= 2 && min(grown.Best, grown.Median) <= 1.6
	})
}
