package suspend_test

import (
	"testing"
	"time"

	"github.com/svctoken/svctoken/internal/suspend"
)

// TestStandsStill: while the machine is awake, Slept does not grow.
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

func TestPretend(t *testing.T) {
	defer suspend.Pretend(0, 0)
	before := suspend.Slept()
	suspend.Pretend(-time.Hour, 2*time.Hour)
	if d := (suspend.Slept() - before - 2*time.Hour).Abs(); suspend.Ahead() != -time.Hour || d > time.Second {
		t.Errorf("ahead %v, slept %v more than 2h", suspend.Ahead(), d)
	}
	suspend.Pretend(0, 0)
	if d := (suspend.Slept() - before).Abs(); suspend.Ahead() != 0 || d > time.Second {
		t.Errorf("afterwards: ahead %v, slept %v more", suspend.Ahead(), d)
	}
}
