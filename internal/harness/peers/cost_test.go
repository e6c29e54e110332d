package peers_test

import (
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

// TestCrowd: serving 10 000 callers of one load costs little more than waking them.
func TestCrowd(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	r := peers.Crowd(7).Ratio("svctoken", "bare channel")
	t.Log(r)
	if r.Best > 2 {
		t.Errorf("serving a crowd takes %.2f of what a bare channel does, want at most 2", r.Best)
	}
}
