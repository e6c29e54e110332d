//go:build !linux

package turns

import "time"

var start = time.Now()

// now returns the wall's time: the processor's is not known here.
func now(Clock) time.Duration { return time.Since(start) }
