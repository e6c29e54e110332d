package suspend

import (
	"sync/atomic"
	"time"
)

// pretended is what a test adds to the system's clocks.
var pretended struct{ ahead, slept atomic.Int64 }

// Pretend makes [Ahead] return ahead, and adds slept to the result of [Slept]. It is for
// tests, which cannot set the system's clocks or suspend the machine, and affects the
// whole process.
func Pretend(ahead, slept time.Duration) {
	pretended.ahead.Store(int64(ahead))
	pretended.slept.Store(int64(slept))
}

// Ahead returns how far a test has set the wall clock ahead of the system's; outside of
// tests, 0. It is safe for concurrent use by multiple goroutines.
func Ahead() time.Duration { return time.Duration(pretended.ahead.Load()) }

// Slept returns how long the machine has been suspended since it was started; 0 if the
// system does not tell. It is safe for concurrent use by multiple goroutines.
func Slept() time.Duration { return slept() + time.Duration(pretended.slept.Load()) }
