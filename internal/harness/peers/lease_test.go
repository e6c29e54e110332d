package peers_test

import (
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers"
)

// TestLease: a lease costs a hit one reading of the clock.
func TestLease(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	c := peers.Leases(101)
	r := c.Ratio("hit with a lease", "hit")
	t.Logf("a hit takes %.0f ns, with a lease %.0f ns: %v", c.Times["hit"].Best(), c.Times["hit with a lease"].Best(), r)
	if r.Best > 1.5 {
		t.Errorf("a hit with a lease takes %.2f of one without, want at most 1.5", r.Best)
	}
}
