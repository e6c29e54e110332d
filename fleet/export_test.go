package fleet

import "time"

// Clock is a clock that a test makes.
type Clock = clock

// WithTest sets what a test decides instead of the system.
func (c Config) WithTest(clock Clock, newID func() string, jitter func() float64) Config {
	c.clock, c.newID, c.jitter = clock, newID, jitter
	return c
}

// Allow is how long to wait for a lease.
func Allow(d time.Duration) time.Duration { return allow(d) }
