package peers_test

import (
	"testing"

	"github.com/svctoken/svctoken/internal/peers"
)

// TestHitRatio holds the approximation to its bound: within one percentage point
// of exact LRU, or better.
func TestHitRatio(t *testing.T) {
	for _, r := range peers.HitRatios() {
		t.Logf("%-28s %3.0f %%: svctoken %.3f, LRU %.3f, 2Q %.3f, otter %.3f", r.Trace, 100*r.Capacity, r.Svctoken, r.LRU, r.TwoQueue, r.Otter)
		if r.Svctoken < r.LRU-0.01 {
			t.Errorf("%s at %.0f %%: got %.4f, exact LRU has %.4f", r.Trace, 100*r.Capacity, r.Svctoken, r.LRU)
		}
	}
}
