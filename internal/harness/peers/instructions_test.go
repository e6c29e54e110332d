package peers_test

import (
	"errors"
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers"
)

// TestInstructions counts what a hit executes, exactly, and holds it to a number beyond
// its floor's: the guard against a slower hit that no processor and no load moves.
func TestInstructions(t *testing.T) {
	counts, err := peers.Instructions()
	if errors.Is(err, peers.ErrNoSteps) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		if beyond := c.Hit - c.Floor; beyond > 730 {
			t.Errorf("secrets of %d bytes: a hit takes %.1f instructions beyond its floor, want at most 730", c.Secret, beyond)
		}
		t.Logf("secrets of %d bytes: a hit takes %.1f instructions, its floor %.1f", c.Secret, c.Hit, c.Floor)
	}
}
