package fleet

import "time"

// A clock is what a node reads the time from; a test has it run fast or slow.
type clock interface {
	Now() time.Time
	// Real returns how long d takes when this clock measures it.
	Real(d time.Duration) time.Duration
	// Suspended returns how long this machine has slept since it started, as far as
	// the clock of Now did not count it.
	Suspended() time.Duration
}

type systemClock struct{}

func (systemClock) Now() time.Time                     { return time.Now() }
func (systemClock) Real(d time.Duration) time.Duration { return d }
func (systemClock) Suspended() time.Duration           { return suspended() }

// driftPPM is by how many millionths a node's monotonic clock may run fast or slow.
// Clocks that are kept by NTP stay below 500, and quartz below 100.
const driftPPM = 1000

// allow returns how long to wait by a clock that may be fast for what lasts d by one
// that may be slow.
func allow(d time.Duration) time.Duration {
	return d + d/1e6*(2*driftPPM+driftPPM/100)
}
