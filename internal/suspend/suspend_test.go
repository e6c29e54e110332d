package suspend_test

import (
	"testing"
	"time"

	"github.com/svctoken/svctoken/internal/suspend"
)

// TestStandsStill: while the machine is awake, it has slept no longer.
func TestStandsStill(t *testing.T) {
	first := suspend.Slept()
	if first < -time.Second {
		t.Errorf("slept for %v", first)
	}
	for range 1000 {
		if d := suspend.Slept() - first; d > time.Second || d < -time.Second {
			t.Fatalf("slept for %v more within the test", d)
		}
	}
}
