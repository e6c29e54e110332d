//go:build !linux

package fleet

import "time"

// suspended cannot tell on this system; see docs/fleet.md.
func suspended() time.Duration { return 0 }
