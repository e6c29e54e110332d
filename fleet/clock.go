package fleet

import (
	"time"

	"github.com/svctoken/svctoken/internal/suspend"
)

// A clock gives a node the time; a test makes it run fast or slow.
type clock interface {
	Now() time.Time
	// Real returns how long d takes when this clock measures it.
	Real(d time.Duration) time.Duration
	// Suspended returns how long this machine has been suspended since it started, as far
	// as the clock of Now did not count that time.
	Suspended() time.Duration
}

type systemClock struct{}

func (systemClock) Now() time.Time                     { return time.Now() }
func (systemClock) Real(d time.Duration) time.Duration { return d }
func (systemClock) Suspended() time.Duration           { return suspend.Slept() }
