package suspend

import (
	"syscall"
	"time"
	"unsafe"
)

// The numbers of clock_gettime(2).
const (
	monotonic = 1 // as time.Now reads it: it stands still while the machine is suspended
	boottime  = 7 // it runs on meanwhile
)

// slept returns the difference of the system's two clocks.
func slept() time.Duration {
	boot, ok := read(boottime)
	now, ok2 := read(monotonic)
	if !ok || !ok2 {
		return 0
	}
	return boot - now
}

// read reads one of the system's clocks. It uses unsafe to give the system call a
// pointer, since package syscall has no function for it.
func read(id uintptr) (time.Duration, bool) {
	var ts syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano()), errno == 0
}
