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
	hit, lease, clock := c.Times["hit"].Best(), c.Times["hit with a lease"].Best(), c.Times["clock"].Best()
	t.Logf("a hit takes %.0f ns, with a lease %.0f ns, and the clock %.0f: %v", hit, lease, clock, c.Ratio("hit with a lease", "hit"))
	if lease-hit > 1.5*clock {
		t.Errorf("a lease costs a hit %.0f ns, want at most 1.5 readings of the clock, %.0f ns each", lease-hit, clock)
	}
}
