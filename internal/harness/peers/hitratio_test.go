package peers_test

import (
	"strings"
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers"
)

// TestHitRatio holds the replacement to its bounds: within 1.8 percentage points
// of otter if popularity follows Zipf's law, and nowhere 0.6 points below an LRU
// with marks.
func TestHitRatio(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	for _, r := range peers.HitRatios() {
		t.Logf("%-28s %3.0f %%: svctoken %.3f, LRU %.3f, with marks %.3f, 2Q %.3f, otter %.3f", r.Trace, 100*r.Capacity, r.Svctoken, r.LRU, r.Marked, r.TwoQueue, r.Otter)
		if r.Svctoken < r.Marked-0.006 {
			t.Errorf("%s at %.0f %%: got %.4f, an LRU with marks has %.4f", r.Trace, 100*r.Capacity, r.Svctoken, r.Marked)
		}
		zipf := strings.HasPrefix(r.Trace, "Zipf") && !strings.Contains(r.Trace, "with") && !strings.Contains(r.Trace, "shifting")
		if zipf && r.Svctoken < r.Otter-0.018 {
			t.Errorf("%s at %.0f %%: got %.4f, otter has %.4f", r.Trace, 100*r.Capacity, r.Svctoken, r.Otter)
		}
	}
}
