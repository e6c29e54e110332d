package tokencache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// growStack makes the goroutine's stack grow, which takes a microsecond, before the source
// is asked. It would grow in the source or in the hash, and which of them it is would tell
// whether the source holds the name.
//
//go:noinline
func growStack() {
	var frame [8 << 10]byte
	keep(frame[:])
}

//go:noinline
func keep([]byte) {}

// do calls foreign code, one phase of the load, and lands it, even if that code ends
// the goroutine. It reports whether the goroutine is to go on with the next phase. One
// phase is not called from within another: the stack of the goroutine would have to
// grow, which takes longer than all the rest of a load.
func (l *load) do(phase func() error) (goOn bool) {
	defer func() { goOn = l.land() }()
	l.guard(phase)
	return false
}

// guard calls foreign code, and turns its panics, and its end of the goroutine, into an
// outcome.
func (l *load) guard(call func() error) {
	finished := false
	var err error
	defer func() {
		reason := ReasonSourceFailed
		var stack []byte
		switch {
		case !finished: // a panic, or runtime.Goexit
			err, reason, stack = panicError(recover()), ReasonSourcePanicked, stackOf()
		case err == nil:
			return
		case errors.Is(err, context.DeadlineExceeded) && l.overdue():
			reason = ReasonSourceTimeout
		}
		noAnswer := l.store.noAnswer(l.label.id, reason, err)
		noAnswer.Stack = stack
		l.reply.outcome = outcome{reason: reason, err: noAnswer}
	}()
	err = call()
	finished = true
}

// overdue reports whether the load's reading has taken too long.
func (l *load) overdue() bool {
	deadline, _ := l.context.Deadline()
	return !time.Now().Before(deadline)
}

// panicError describes a panic of a source. It shows the value only if the runtime made
// it: any other value could hold a secret.
func panicError(value any) error {
	switch v := value.(type) {
	case nil:
		return errors.New("the source ended its goroutine")
	case runtime.Error:
		return fmt.Errorf("the source panicked: %w", v)
	default:
		return fmt.Errorf("the source panicked with a %T", v)
	}
}

// stackOf returns the place of the goroutine: function, file and line of each frame. It does
// not show the arguments, whose words may be a secret's.
func stackOf() (text []byte) {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		text = fmt.Appendf(text, "%s\n\t%s:%d\n", frame.Function, frame.File, frame.Line)
		if !more {
			return text
		}
	}
}
