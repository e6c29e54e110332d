//go:build !linux

package tokencache_test

import "time"

// threadTime is nil: the time of a thread is not known here.
var threadTime func() time.Duration
