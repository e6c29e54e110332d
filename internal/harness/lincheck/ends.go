package lincheck

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/svctoken/svctoken/internal/suspend"
)

// A wall is the wall clock of a history, which is set by whole seconds. Versions and
// graces end half a second away from its steps, so that it does not matter how long the
// program takes. The caches need not wait for their next reading of the clock: they read
// it for entries that end within a minute of the last reading.
type wall struct {
	ahead   time.Duration // of the system's
	forward time.Duration // all steps ahead
}

const (
	furthest = 30 * time.Second       // sum of a history's steps ahead
	margin   = 100 * time.Millisecond // before and after an end: two clocks cannot be read at one instant
)

// back returns how far the clock has been set back in all. A cache's clock may be ahead
// of it by so much.
func (w wall) back() time.Duration { return w.forward - w.ahead }

func (p *profile) stepped() bool { return p.sleeps || p.sets }

// stepping is held by a history that sets the wall clock, which all histories of the
// process share.
var stepping sync.RWMutex

// alone keeps other histories away while one sets the wall clock, until the function that
// it returns is called.
func (p *profile) alone() (end func()) {
	if !p.stepped() {
		stepping.RLock()
		return stepping.RUnlock
	}
	stepping.Lock()
	return func() {
		suspend.Pretend(0, 0)
		stepping.Unlock()
	}
}

// endTimes returns when a version expires, and when its grace ends; the zero Time: never.
func (w *world) endTimes(rng *rand.Rand) (expires, grace time.Time) {
	at := func() time.Time {
		if w.profile.stepped() {
			w.mu.Lock()
			defer w.mu.Unlock()
			return time.Now().Round(0).Add(w.wall.ahead + time.Duration(rng.IntN(14)-1)*time.Second + time.Second/2)
		}
		return time.Now().Add(time.Duration(rng.IntN(100)-10) * time.Microsecond)
	}
	if w.profile.expires && rng.IntN(3) > 0 {
		expires = at()
	}
	if w.profile.rotates && rng.IntN(4) > 0 {
		grace = at()
	}
	return expires, grace
}

// An endingVersion is a version that ends by itself, or whose grace does.
type endingVersion struct {
	slot    int
	version version
	grace   bool
	at      time.Time
	from    int64         // an instant before the end
	back    time.Duration // how far the wall clock had been set back when the source said so
	due     bool          // it has been recorded that it may be refused
	over    bool          // and that it must not be confirmed
}

// noteEnding records when the answer that a source is about to give ends.
func (w *world) noteEnding(slot int, says saying, from int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := endingVersion{slot: slot, version: says.version, from: from, back: w.wall.back()}
	if !says.expires.IsZero() {
		e.at = says.expires
		w.ending = append(w.ending, e)
	}
	if says.rotated {
		e.at, e.grace = says.grace, true
		w.ending = append(w.ending, e)
	}
}

// noteEnds adds the ends that have come, and returns how many there were.
func (w *world) noteEnds(client int) (n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.noteEndsLocked(client)
}

// noteEndsLocked adds the ends that have come since its last call. The model has to find
// out when exactly each of them was.
func (w *world) noteEndsLocked(client int) (n uint64) {
	instant, now := w.clock.Load(), time.Now()
	if w.profile.stepped() {
		now = now.Round(0).Add(w.wall.ahead)
	}
	for i := range w.ending {
		e := &w.ending[i]
		due, over := w.passed(e, now)
		switch {
		case over && !e.over:
			w.addEndLocked(client, e, ended)
			n++
		case due && !e.due:
			w.addEndLocked(client, e, dueOnly)
		case !over && e.over:
			w.addEndLocked(client, e, revived)
		}
		e.due, e.over = e.due || due, over
		if w.profile.stepped() { // otherwise an end is early by the time between two readings of a clock
			e.from = instant
		}
	}
	return n
}

// passed reports, for this time, whether the version may be refused, and whether it must
// not be confirmed.
func (w *world) passed(e *endingVersion, now time.Time) (due, over bool) {
	if !w.profile.stepped() {
		over = !now.Before(e.at)
		return over, over
	}
	ahead := w.wall.back() - e.back // of a cache's clock, at most
	return !now.Add(ahead + margin).Before(e.at), !now.Before(e.at.Add(margin))
}

func (w *world) addEndLocked(client int, e *endingVersion, how ending) {
	in := input{kind: end, slot: e.slot, version: e.version, grace: e.grace, ending: how}
	w.history = append(w.history, porcupine.Operation{ClientId: client, Input: in, Call: e.from, Output: output{}, Return: w.clock.Add(1)})
}

// noteLastEnds adds the ends that have come when the program is over. A version that has
// not ended may still have been refused.
func (w *world) noteLastEnds() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noteEndsLocked(0)
	for i := range w.ending {
		if e := &w.ending[i]; !e.over && !w.profile.stepped() {
			w.addEndLocked(0, e, ended)
		}
	}
}

// step sets the wall clock.
func (w *world) step(client int, rng *rand.Rand) {
	d := time.Duration(1+rng.IntN(6)) * time.Second
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended.Add(w.noteEndsLocked(client))
	switch {
	case w.profile.sets && rng.IntN(2) == 0:
		d = -d
	case w.wall.forward+d > furthest:
		return
	default:
		w.wall.forward += d
	}
	w.wall.ahead += d
	suspend.Pretend(w.wall.ahead, 0)
	w.ended.Add(w.noteEndsLocked(client))
}
