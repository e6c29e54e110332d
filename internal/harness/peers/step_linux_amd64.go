package peers

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// waitOwn waits for threads of every kind, but only of programs that this thread started:
// other threads of the process may have programs of their own.
const waitOwn = syscall.WALL | syscall.WNOTHREAD

// instructions returns how many instructions one hit or floor takes: a sixteenth of the
// difference between 16 and none, so that what is around them does not count. One hit in
// 16 looks at the clock.
func instructions(binary string, args ...string) (float64, error) {
	const many = 16
	args = append(args, "-signal")
	none, err := unblocked(binary, append(args, "0"))
	if err != nil {
		return 0, err
	}
	all, err := unblocked(binary, append(args, strconv.Itoa(many)))
	if err != nil {
		return 0, err
	}
	return float64(all-none) / many, nil
}

// errBlocked: a thread may have been stopped with a lock of the runtime that the first
// one needs.
var errBlocked = errors.New("peers: the hits wait for a thread that is stopped")

// unblocked is steps, tried again if it blocks.
func unblocked(binary string, args []string) (count int, err error) {
	for range 5 {
		if count, err = steps(binary, args); !errors.Is(err, errBlocked) {
			break
		}
	}
	return count, err
}

// steps runs the program, and counts the instructions of its first thread between
// two signals SIGUSR1, which it does not get.
func steps(binary string, args []string) (count int, err error) {
	runtime.LockOSThread() // only the thread that started the program may step it
	defer runtime.UnlockOSThread()
	share, err := shareProcessor()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoSteps, err)
	}
	defer share()
	cmd := exec.Command(binary, args...)
	// Other threads are stopped, some of which may have a share of GOMAXPROCS: the first
	// one must find another, when it comes back from sending a signal.
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1", "GOMAXPROCS=32")
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoSteps, err)
	}
	pid := cmd.Process.Pid
	defer time.AfterFunc(20*time.Second, func() { syscall.Kill(pid, syscall.SIGKILL) }).Stop() // a step that blocks has no end
	defer cmd.Process.Release()
	defer func() {
		syscall.Kill(pid, syscall.SIGKILL)
		reap(pid)
	}()
	if err := untilSignal(pid); err != nil {
		return 0, err
	}
	if err := stopOthers(pid); err != nil {
		return 0, err
	}
	for ; ; count++ {
		if err := syscall.PtraceSingleStep(pid); err != nil {
			return 0, err
		}
		status, err := waitFor(pid)
		switch {
		case err != nil:
			return 0, err
		case status.Signaled() && status.Signal() == syscall.SIGKILL:
			return 0, errBlocked
		case status.Stopped() && status.StopSignal() == syscall.SIGTRAP:
		case status.Stopped() && status.StopSignal() == syscall.SIGUSR1:
			return count, nil
		default:
			return 0, fmt.Errorf("peers: the hits stopped after %d steps: %#x", count, uint32(status))
		}
	}
}

// shareProcessor keeps the calling thread, and the programs that it starts, on one
// processor until the function that it returns is called. Between two processors each
// step wakes one that sleeps, which takes a virtual machine up to 0.1 ms: the program
// would see its clocks run apart between two instructions, and act on it.
func shareProcessor() (end func(), err error) {
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, err
	}
	for cpu := range len(before) * bits.UintSize {
		if before.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	return func() { unix.SchedSetaffinity(0, &before) }, unix.SchedSetaffinity(0, &one)
}

// waitFor waits for the first thread to stop or end. The end of a process is told only
// when the ends of its other threads, which are traced as well, have been heard.
func waitFor(pid int) (status syscall.WaitStatus, err error) {
	for {
		if tid, err := syscall.Wait4(-1, &status, waitOwn, nil); err != nil || tid == pid {
			return status, err
		}
	}
}

// untilSignal runs the program, all of its threads traced, until its first thread
// sends SIGUSR1.
func untilSignal(pid int) error {
	for first := true; ; first = false {
		var status syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &status, waitOwn, nil)
		if first && err == nil {
			err = syscall.PtraceSetOptions(pid, syscall.PTRACE_O_TRACECLONE)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNoSteps, err)
		}
		if !status.Stopped() {
			return fmt.Errorf("peers: the hits ended: %#x", uint32(status))
		}
		deliver := int(status.StopSignal())
		switch status.StopSignal() {
		case syscall.SIGUSR1:
			return nil
		case syscall.SIGTRAP, syscall.SIGSTOP: // a new thread, or its start
			deliver = 0
		}
		if err := syscall.PtraceCont(tid, deliver); err != nil {
			return fmt.Errorf("%w: %w", ErrNoSteps, err)
		}
	}
}

// stopOthers stops all threads except the first, for ever. Otherwise the runtime's
// monitor would ask the first one to yield every ten milliseconds, since steps are slow.
func stopOthers(pid int) error {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return err
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(filepath.Base(thread))
		if err != nil || tid == pid {
			continue
		}
		if _, _, errno := syscall.Syscall(syscall.SYS_TGKILL, uintptr(pid), uintptr(tid), uintptr(syscall.SIGSTOP)); errno != 0 {
			return errno
		}
		if _, err := syscall.Wait4(tid, nil, waitOwn, nil); err != nil {
			return err
		}
	}
	return nil
}

// reap waits until the program's threads have gone.
func reap(pid int) {
	for {
		var status syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &status, waitOwn, nil)
		if err != nil && err != syscall.EINTR || tid == pid && !status.Stopped() {
			return
		}
	}
}
