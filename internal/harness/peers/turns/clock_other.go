//go:build !linux

package turns

import "time"

var start = time.Now()

// Now returns the wall's time: the processor's is not known here.
func Now(Clock) time.Duration { return time.Since(start) }
