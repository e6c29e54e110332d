package fleet

import (
	"syscall"
	"time"
	"unsafe"
)

const (
	clockMonotonic = 1 // what time.Now reads: it stands still while the machine is suspended
	clockBoottime  = 7 // it does not
)

// suspended returns how long the machine has been suspended since it was started.
func suspended() time.Duration {
	return readClock(clockBoottime) - readClock(clockMonotonic)
}

func readClock(id uintptr) time.Duration {
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0
	}
	return time.Duration(ts.Nano())
}
