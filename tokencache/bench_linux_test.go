package tokencache_test

import (
	"syscall"
	"time"
	"unsafe"
)

// threadTime returns what this thread has taken of the processor: see
// clock_gettime(2), CLOCK_THREAD_CPUTIME_ID.
var threadTime = func() time.Duration {
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 3, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic("clock_gettime: " + errno.Error())
	}
	return time.Duration(ts.Nano())
}
