package peers_test

import (
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers"
)

// TestGrow: each operation can be measured at its sizes, and takes some time.
func TestGrow(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	for _, g := range peers.Grow(1, 1e4) {
		if len(g.Times) != len(g.Sizes) || len(g.Sizes) < 2 {
			t.Errorf("%s: got %d times of %v", g.Name, len(g.Times), g.Sizes)
			continue
		}
		t.Logf("%s: power %.2f, %v ns at %v %s", g.Name, g.Exponent(), g.Times, g.Sizes, g.Of)
		for _, each := range g.Each() {
			if each <= 0 {
				t.Errorf("%s: got %v", g.Name, g.Times)
			}
		}
	}
}
