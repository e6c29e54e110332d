package tokencache

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"github.com/svctoken/svctoken/tokencache/internal/fair"
)

// A work has what the loads of a group share: the turns to compute hashes, and the one
// timer. Its fields are immutable, and what they hold is guarded by the memory's mutex.
type work struct {
	memory    *memory
	deadlines deadlines
	hashing   *queue
	maxWait   time.Duration
	maxQueue  int
	observer  func(context.Context, Event) // nil: nobody is told
}

// A queue has the loads that wait for turns; see package fair.
type queue = fair.Queue[Account, *load]

// accountShare is the part of the loads, and of the strays, that one account may have: an
// eighth, so that seven accounts can be attacked at once before others are held up. A
// limit that is too small to be shared, or that is off, is not shared.
const accountShare = 8

func shareOf(all int) int {
	if all < accountShare || all == math.MaxInt {
		return all
	}
	return all / accountShare
}

// tell tells the observer. A panic of the observer's is contained: it must not end the
// process, nor keep others from being told.
func (w *work) tell(ctx context.Context, ev Event) {
	defer func() { _ = recover() }()
	w.observer(ctx, ev)
}

// waitLocked lets the load wait for a turn, before others if its secret was good under its
// name, and reports whether the queue took it. A load that it displaces ends.
func (l *load) waitLocked(q *queue, now int64) bool {
	s, id := l.store.shelf, l.label.id
	l.inQueue = &fair.Waiter[Account, *load]{Account: id.Account, Name: id.Name, Value: l}
	l.inQueue.Urgent = s.memory.hints.hasLocked(l.label.key(), s.bit(), now)
	displaced, ok := q.Add(l.inQueue)
	if displaced != nil {
		displaced.Value.loseTurnLocked(q)
	}
	return ok
}

// loseTurnLocked ends a load that was displaced from the queue.
func (l *load) loseTurnLocked(q *queue) {
	err := l.overloaded(q, l.store.shelf.memory.clock.read().pace)
	l.stopLocked(&outcome{reason: err.Reason, err: err})
	l.store.running.add()
	go func() { // as the observer must not be called under the mutex
		defer l.store.running.done()
		close(l.done)
		l.tell()
	}()
}

// overloaded returns the error for a load that has waited too long in the queue, or
// that the queue did not take.
func (l *load) overloaded(q *queue, pace int64) *NoAnswerError {
	err := l.store.noAnswer(l.label.id, ReasonOverloaded, nil)
	err.RetryAfter = retryAfter(q.Wait(time.Duration(pace)), l.store.work.maxWait)
	return err
}

const (
	minRetry    = time.Second
	retrySpread = 2 * time.Second
)

// retryAfter returns when to try again, given the expected wait. The time is random, from
// an eighth sooner on, so that callers that were turned away together do not come back
// together. The times are spread over retrySpread or more, since HTTP has whole seconds.
// They are at most the longest wait, but at least a second: by then shorter work is done.
func retryAfter(wait, longest time.Duration) time.Duration {
	wait = min(max(wait, minRetry), longest)
	least := max(wait-wait/8, min(minRetry, longest-longest/8))
	most := min(max(wait, least+retrySpread), longest)
	return least + rand.N(most-least+1)
}

// endReadLocked gives back the load's slot.
func (s *store) endReadLocked(l *load, at moment) {
	s.slots.GiveBack(l.label.id.Account, l.ran(at), time.Duration(at.pace))
	s.readNextLocked(at)
}

// readNextLocked gives slots to the loads that can have one now.
func (s *store) readNextLocked(at moment) {
	for l, ok := s.slots.Next(); ok; l, ok = s.slots.Next() {
		l.readLocked(at)
	}
}

// endHashLocked gives back the load's turn, and gives turns to the loads that can have
// one now.
func (w *work) endHashLocked(l *load, at moment) {
	w.hashing.GiveBack(l.label.id.Account, l.ran(at), time.Duration(at.pace))
	for next, ok := w.hashing.Next(); ok; next, ok = w.hashing.Next() {
		next.verifyLocked(at)
		next.store.running.add()
		go func() {
			defer next.store.running.done()
			// On a busy machine a goroutine waits before it runs, which is not part of
			// the hash's cost.
			next.begun.Store(w.memory.clock.read().pace)
			next.do(next.prove)
		}()
	}
}

// ran returns how long the load's phase has run; at may have been read before it began to.
func (l *load) ran(at moment) time.Duration { return time.Duration(max(0, at.pace-l.begun.Load())) }

// abandon notes that a caller no longer waits. A load that nobody waits for does not
// begin its next phase.
func (l *load) abandon() {
	m := l.store.shelf.memory
	m.mu.Lock()
	l.waiters--
	unwanted := l.unwanted() && (l.phase == queued || l.phase == turning)
	if unwanted {
		l.stopLocked(&outcome{reason: ReasonGaveUp})
	}
	m.mu.Unlock()
	if unwanted {
		close(l.done)
		l.tell()
	}
}

// unwanted reports whether nobody waits for the load any more. The memory's mutex is
// held.
func (l *load) unwanted() bool { return l.waiters == 0 && !l.detached }

// stopLocked settles a load before it has ended by itself: it leaves its queue, or
// becomes a stray.
func (l *load) stopLocked(out *outcome) {
	s, at := l.store, l.store.shelf.memory.clock.read()
	switch l.phase {
	case queued, turning:
		if l.phase == turning { // it has begun, and so is counted
			l.countStopLocked(out.reason)
		}
		l.inQueue.Leave()
		l.custody.endLocked()
	case reading:
		s.strays.beginLocked(l)
		s.endReadLocked(l, at)
	case verifying:
		s.strays.beginLocked(l)
		s.work.endHashLocked(l, at)
	}
	l.settleLocked(out)
}

// countStopLocked counts a load that was stopped while it waited for its turn to hash.
func (l *load) countStopLocked(reason Reason) {
	if reason == ReasonOverloaded {
		l.store.shelf.stats.Errors++
	} else {
		l.store.shelf.stats.Discarded++ // nobody waits for it, or its cache was closed
	}
}

// overdue settles the loads whose phase has taken too long.
func (w *work) overdue() {
	var ended []*load
	m := w.memory
	m.mu.Lock()
	// One by one: a slot or turn that one load gives back may begin the next phase of
	// another, whose time was up too until then.
	for l := w.deadlines.overdueLocked(); l != nil; l = w.deadlines.overdueLocked() {
		s := l.store
		var err *NoAnswerError
		switch l.phase {
		case queued:
			err = l.overloaded(s.slots, m.clock.read().pace)
		case turning:
			err = l.overloaded(w.hashing, m.clock.read().pace)
		default:
			err = s.noAnswer(l.label.id, ReasonSourceTimeout, s.errTimeout)
			s.shelf.stats.Errors++
		}
		l.stopLocked(&outcome{reason: err.Reason, err: err})
		s.running.add() // the observer must still be told
		ended = append(ended, l)
	}
	w.deadlines.fires = 0
	w.deadlines.watchLocked()
	m.mu.Unlock()
	defer func() {
		for _, l := range ended {
			l.store.running.done()
		}
	}()
	finishAll(ended)
}

// finishAll wakes the waiters of settled loads, and tells the observer, which may take
// its time.
func finishAll(loads []*load) {
	for _, l := range loads {
		close(l.done)
	}
	for _, l := range loads {
		l.tell()
	}
}
