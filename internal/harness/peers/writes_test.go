package peers_test

import (
	"errors"
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers"
)

// TestHitWritesOneLine: a hit writes to one cache line that is not on its
// goroutine's stack, that of its counter, and once.
func TestHitWritesOneLine(t *testing.T) {
	lines, err := peers.Writes()
	if errors.Is(err, peers.ErrNoValgrind) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != 1 || lines[0] != 1 {
		t.Errorf("a hit writes so often to each line: %v, want [1]", lines)
	}
}
