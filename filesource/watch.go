package filesource

import (
	"time"
)

// A watch is a series of looks at the file. How long a file has rested is the time from
// the first look that saw it as it is to the last one. What was known of it before counts
// as a look. Times that the file system stamps prove nothing: they are old while the
// kernel truncates a file, a change of the mode sets them as a rename does, and they may
// come from another machine's clock.
type watch struct {
	*File
	known *knowledge
	began time.Time // right before the first look
	last  sighting  // what the last look saw
	asked time.Time // right before the last look
	since time.Time // right after the first look that saw the file as it is

	// For how long the watch has lasted. Time in which the process did not run does not
	// count: a file that looks restless after it may be in a save that has just begun.
	restless time.Duration
	hurried  sighting // what the last call of hurriedDraft read
}

// look looks once more, and reports whether the file has changed since the last look.
func (w *watch) look() (changed bool) {
	before := time.Now()
	first := w.asked.IsZero()
	if first {
		w.began = before
	} else {
		w.restless += min(before.Sub(w.asked), 2*step+time.Duration(w.last.size())*slowRead)
	}
	w.asked = before
	now := w.File.look()
	if !first && now.same(w.last) {
		return false
	}
	w.last, w.since = now, time.Now()
	if first && w.known.loaded && now.info != nil && now.same(w.known.seen) { // a file that is missing, or is not a regular one, leaves no trace of what it was meanwhile
		w.since = w.known.since
	}
	return true
}

// rested returns how long the file had been as it was seen when the last look began. It
// counts to that moment, not to now, since the process may not have run meanwhile.
func (w *watch) rested() time.Duration { return max(0, w.asked.Sub(w.since)) }

// File systems stamp with the time of the last clock tick, or in whole seconds,
// or two. A write within the same tick as the last one, of the same size, leaves
// no trace in the file's metadata; so a file that was not watched for longer than this
// is read again at the next look.
const (
	fineTick   = 100 * time.Millisecond
	coarseTick = 3 * time.Second
)

// wouldShow reports whether a write at this time, or later, would show in a look.
func (w *watch) wouldShow(at time.Time) bool {
	tick := fineTick
	if w.last.info != nil && stamp(w.last.info).Nanosecond() == 0 {
		tick = coarseTick
	}
	return at.Sub(w.since) > tick
}
