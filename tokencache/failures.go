package tokencache

import "time"

// Failures have a store leave its source alone for a moment where load after load
// fails: a source that fails fast would otherwise be asked as fast as callers come.
// It backs off by source, not by token, and the first success ends it. All of it is
// guarded by the group's mutex.
type failures struct {
	longest time.Duration // the longest pause; 0: never pause

	inARow int
	last   error // of the latest failure
	until  int64 // clock reading: when the pause ends
}

const (
	failuresBeforePause = 5
	firstPause          = 10 * time.Millisecond
	defaultBackoff      = time.Second
)

// noteLocked notes how a load ended; nil: its source has answered. Failures during
// a pause are of loads from before it, and do not lengthen it. One that took too
// long is slow enough, and may be the fault of its account alone.
func (f *failures) noteLocked(err *NoAnswerError, now int64) {
	if err == nil {
		*f = failures{longest: f.longest}
		return
	}
	if now < f.until || err.Reason == ReasonSourceTimeout {
		return
	}
	f.inARow++
	f.last = err.Err
	if f.longest > 0 && f.inARow >= failuresBeforePause {
		pause := firstPause << min(f.inARow-failuresBeforePause, 16)
		f.until = now + int64(min(pause, f.longest))
	}
}

// pauseLocked returns how long the source is still left alone.
func (f *failures) pauseLocked(now int64) time.Duration { return time.Duration(max(0, f.until-now)) }
