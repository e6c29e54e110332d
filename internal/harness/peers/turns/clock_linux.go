package turns

import (
	"syscall"
	"time"
	"unsafe"
)

// Clocks of clock_gettime(2).
const (
	processTime = 2
	threadTime  = 3
)

// Now returns the processor's time so far.
func Now(c Clock) time.Duration {
	id := uintptr(threadTime)
	if c == Process {
		id = processTime
	}
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic("turns: clock_gettime: " + errno.Error())
	}
	return time.Duration(ts.Nano())
}
