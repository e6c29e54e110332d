package peers_test

import (
	"errors"
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers"
)

// TestInstructions counts what a hit executes, exactly.
func TestInstructions(t *testing.T) {
	counts, err := peers.Instructions()
	if errors.Is(err, peers.ErrNoSteps) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range counts {
		t.Logf("secrets of %d bytes: a hit takes %.1f instructions, its floor %.1f", c.Secret, c.Hit, c.Floor)
	}
}
