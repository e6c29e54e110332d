package tokencache

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/tokencache/internal/fair"
)

// A load asks one source about one token, for all callers that ask for it meanwhile.
//
// Its phases:
//
//	queued -> reading -> turning -> verifying -> settled
//
// Queued, it waits for one of the store's slots. Reading, it takes a ticket and asks
// the source, in a goroutine of its own and with a deadline of its own, and then gives
// the slot back. Turning, it waits for one of the group's turns to compute a password
// hash, without a goroutine. Verifying, it computes the hash, in a goroutine again. Each
// phase may lead to settled at once: with what was found out, because its time is
// up, because its cache was closed, or because nobody waits for it any more. What
// still runs then is a stray: it has given its slot or turn back, and its result
// goes nowhere.
//
// This file follows a load from the caller that makes it to the waiters that it wakes.
type load struct {
	store   *store
	label   label
	custody custody // of the token's secret
	context loadContext
	refresh bool  // it was begun ahead of its entry's expiry
	reply   reply // written by the goroutine of one phase before the next one begins

	// guarded by the memory's mutex
	phase    phase
	detached bool   // it goes on though nobody waits
	ticket   ticket // from when it begins to read
	waiters  int
	started  int64                        // reading of the clock's pace: when it was made
	alarm    alarm                        // when its phase ends
	inQueue  *fair.Waiter[Account, *load] // among those that wait for a turn; nil: it has not waited

	begun atomic.Int64 // reading of the clock's pace: when its phase began to run

	done chan struct{} // closed when the load is settled
	out  outcome       // written before that, by whatever settles it
}

type phase uint8

const (
	queued phase = iota
	reading
	turning
	verifying
	settled
)

// A reply has what a load knows so far.
type reply struct {
	outcome outcome

	verify       func(Secret) bool // nil: there is no hash to compute
	previous     func(Secret) bool // of the previous secret; nil: it is not good
	previousEnds int64             // clock reading: when the previous secret ceases to be good
}

// obtainLocked returns a load of the token to wait for: one that may be joined, or else
// a new one. If no new one may be begun, it says why.
func (s *store) obtainLocked(ctx context.Context, token *Token, q *query, at moment, refresh bool) (*load, *NoAnswerError) {
	key := tokenKey{q.digest, q.hash}
	if l := s.loads.getLocked(key, token.id); l != nil && l.joinableLocked(at.now) {
		return l, nil
	}
	if err := s.unavailableLocked(token.id, at.pace); err != nil {
		return nil, err
	}
	l := &load{
		store: s, refresh: refresh, detached: refresh, started: at.pace,
		label: label{
			id: token.id, digest: q.digest, hash: q.hash, length: token.secret.Len(),
			text: token.id.Name + q.bearer[headLen(token.id.Account):q.cut],
		},
		custody: custody{secret: token.secret}, alarm: alarm{index: notSet}, done: make(chan struct{}),
	}
	l.context.load, l.context.caller = l, ctx
	if err := l.startLocked(at); err != nil {
		return nil, err
	}
	s.loads.putLocked(key, l)
	s.backoff.beginLocked(l, token.id)
	return l, nil
}

// joinableLocked reports whether a newcomer may wait for the load: it has not begun to
// read, or nothing has taken its ticket back since, INVARIANT 2 of evict.go. What it has
// read must not have expired.
func (l *load) joinableLocked(now int64) bool {
	return l.phase == queued || l.ticket.goodLocked() && now < l.ticket.dies
}

// startLocked begins to read, or waits for a slot to read. The error says that the
// queue did not take it.
func (l *load) startLocked(at moment) *NoAnswerError {
	s := l.store
	switch {
	case s.slots.Take(l.label.id.Account):
		l.readLocked(at)
	case l.waitLocked(s.slots, at.now):
		s.work.deadlines.setLocked(l, after(at.pace, s.work.maxWait))
	default:
		return l.overloaded(s.slots, at.pace)
	}
	return nil
}

// readLocked takes a ticket, and begins to read. The load has a slot.
func (l *load) readLocked(at moment) {
	s := l.store
	l.phase = reading
	l.begun.Store(at.pace)
	s.shelf.admitLocked(&l.ticket, l.label.id, at.now)
	l.context.deadline = s.shelf.memory.clock.base.Add(time.Duration(at.pace)).Add(s.loadTimeout)
	s.work.deadlines.setLocked(l, after(at.pace, s.loadTimeout))
	s.shelf.stats.Loads++
	s.running.add()
	go l.read()
}

// read asks the source, and goes on to the hash if there is one to compute, and a turn
// for it.
func (l *load) read() {
	defer l.store.running.done()
	if l.store.shelf.hidden {
		growStack()
	}
	if l.do(l.ask) {
		l.do(l.prove)
	}
}

// ask looks the token up, and lets a source that verifies by itself do so.
func (l *load) ask() error {
	found, err := l.store.lookup(&l.context, l.label.id)
	if err != nil {
		return err
	}
	clock := &l.store.shelf.memory.clock
	out := &l.reply.outcome
	out.fact = fact{record: found.Record, dies: clock.of(found.Expires), until: never}
	switch {
	case !found.Held:
		out.refuse(ReasonUnknownToken, absent)
	case found.Disabled:
		out.refuse(ReasonDisabled, disabled)
	case out.dies != never && out.dies <= clock.now():
		out.refuse(ReasonExpired, expired)
		out.dies = never
	case found.Verify == nil && found.Ask == nil:
		return errNoVerify
	case found.Verify == nil:
		if out.confirmed, err = found.Ask(&l.context, l.custody.secret); err == nil && !out.confirmed {
			out.refuse(ReasonWrongSecret, sole)
		}
		return err
	}
	l.chooseHash(&found)
	return nil
}

var errNoVerify = errors.New("the source holds the token, and does not say how to verify its secret")

// chooseHash computes hashes that are cheap by their form, and leaves the one that needs
// a turn in reply.verify.
func (l *load) chooseHash(found *Answer[any]) {
	clock, out, dummies := &l.store.shelf.memory.clock, &l.reply.outcome, &l.store.dummies
	held := out.reason == 0
	if held {
		l.reply.verify = found.Verify
		if found.Previous.Verify != nil {
			l.reply.previousEnds = clock.of(found.Previous.Expires)
			if l.reply.previousEnds > clock.now() {
				l.reply.previous = found.Previous.Verify
			}
		}
	}
	fast := held && found.Fast
	if fast {
		l.prove()
		l.reply.verify = nil
	}
	if !l.store.shelf.hidden {
		return
	}
	if held {
		dummies.keep(found.Verify, found.Fast)
	}
	if dummy := dummies.get(true); dummy != nil && !fast {
		dummy(l.custody.secret)
	}
	if l.reply.verify == nil && !out.confirmed {
		l.reply.verify = dummies.get(false)
	}
}

// prove verifies the secret by computing a password hash. For a token that is refused
// already it does so only to take the same time.
func (l *load) prove() error {
	r, out := &l.reply, &l.reply.outcome
	ok := r.verify(l.custody.secret)
	switch {
	case out.reason != 0:
	case ok && r.previous == nil:
		out.confirmed = true
	case ok:
		out.confirmed, out.role = true, present
		out.until = r.previousEnds // read anew then, to be sole
	case r.previous != nil && r.previous(l.custody.secret):
		out.confirmed, out.role = true, previous
		out.dies = min(out.dies, r.previousEnds)
	default:
		out.refuse(ReasonWrongSecret, sole)
	}
	return nil
}

// land ends a phase in which the source, or a hash, was asked. The load goes on to
// its hash, or is settled with what was found, which is published if it may be. It
// reports whether to compute the hash at once.
func (l *load) land() (hash bool) {
	m := l.store.shelf.memory
	m.mu.Lock()
	at := m.clock.read()
	goesOn, hash := l.landLocked(at)
	if goesOn {
		m.mu.Unlock()
		return hash
	}
	need := l.publishLocked(at.now)
	l.settleLocked(&l.reply.outcome)
	l.custody.endLocked()
	m.mu.Unlock()
	close(l.done)
	m.grow(need)
	l.tell()
	return false
}

// landLocked gives back what the phase had. It reports whether there is nothing to
// settle: a stray has ended, or the load goes on to its hash, at once or when it gets a
// turn.
func (l *load) landLocked(at moment) (goesOn, hash bool) {
	s := l.store
	switch l.phase {
	case settled: // overdue or closed: a stray
		s.strays.endLocked(l)
		s.readNextLocked(at)
		s.shelf.stats.Discarded++
		l.custody.endLocked()
		return true, false
	case verifying:
		s.work.endHashLocked(l, at)
		return false, false
	}
	s.endReadLocked(l, at)
	out := &l.reply.outcome
	l.checkExpiry(at.now)
	out.outdated = out.reason == ReasonExpired && !l.ticket.goodLocked()
	l.ticket.dies = out.dies
	s.noteLocked(l, out.err, at.pace)
	if out.err != nil || l.reply.verify == nil {
		return false, false
	}
	return l.hashLocked(at)
}

// checkExpiry refuses a token that has expired since its source was asked: a caller that
// has joined meanwhile may have come after the expiry. If only the previous secret has
// ended, that says nothing about the name (TestExpiredBeforeTheMutex).
func (l *load) checkExpiry(now int64) {
	out := &l.reply.outcome
	if out.err != nil || out.reason != 0 || out.dies > now {
		return
	}
	if out.role == previous {
		out.refuse(ReasonWrongSecret, sole)
	} else {
		out.refuse(ReasonExpired, expired)
	}
	out.dies = never
	if !l.store.shelf.hidden {
		l.reply.verify = nil
	}
}

// hashLocked gets the load a turn to compute its hash, or lets it wait for one, or ends
// it; the results are landLocked's.
func (l *load) hashLocked(at moment) (goesOn, hash bool) {
	work := l.store.work
	switch {
	case l.unwanted():
		l.reply.outcome = outcome{reason: ReasonGaveUp}
	case work.hashing.Take(l.label.id.Account):
		l.verifyLocked(at)
		return true, true
	case l.waitLocked(work.hashing, at.now):
		l.phase = turning
		work.deadlines.setLocked(l, after(at.pace, work.maxWait))
		return true, false
	default:
		l.turnAway(at.pace)
	}
	return false, false
}

// turnAway ends the load, as the queue for turns did not take it. It is rare, and
// must not add its frame to the stack of every load: see do.
//
//go:noinline
func (l *load) turnAway(pace int64) {
	err := l.overloaded(l.store.work.hashing, pace)
	l.reply.outcome = outcome{reason: err.Reason, err: err}
}

// verifyLocked begins the phase in which the hash is computed. The load has a turn, and
// its hint is spent, whether the load had to wait or not.
func (l *load) verifyLocked(at moment) {
	s := l.store
	l.phase = verifying
	l.begun.Store(at.pace)
	s.shelf.memory.hints.spendLocked(l.label.key(), s.shelf.bit())
	s.work.deadlines.setLocked(l, after(at.pace, s.loadTimeout))
}

// publishLocked makes the cache remember the outcome, if the load's ticket is good, and
// counts it. It returns what growLocked returns.
func (l *load) publishLocked(now int64) (need int) {
	s, out := l.store.shelf, &l.reply.outcome
	switch {
	case out.err != nil:
		s.stats.Errors++
	case out.reason == ReasonGaveUp:
		s.stats.Discarded++
		return 0
	case !out.confirmed:
		s.stats.Refusals++
	}
	if !l.ticket.goodLocked() {
		s.stats.Discarded++
		return 0
	}
	switch {
	case out.err != nil:
		return 0
	case out.reason == ReasonWrongSecret:
		s.disproveLocked(&l.ticket, &l.label)
		return 0
	}
	// What is published may displace the cell's last entry; the ticket keeps the cell
	// from being freed then (TestDisplacementWithinAnAccount).
	return s.rememberLocked(&l.ticket, &l.label, &out.fact, now, l.refresh)
}

// settleLocked ends the load with this outcome. The caller closes done, after it has
// let go of the mutex.
func (l *load) settleLocked(out *outcome) {
	s := l.store
	s.work.deadlines.removeLocked(l)
	s.loads.removeLocked(l.label.key(), l)
	s.backoff.endLocked(l, l.label.id)
	l.ticket.returnLocked()
	l.phase, l.out = settled, *out
	l.context.endLocked()
}

// tell tells the observer of a settled load.
func (l *load) tell() {
	work := l.store.work
	if work.observer == nil {
		return
	}
	ev := Event{
		Kind: EventLoad, Cache: l.store.shelf.name, Token: l.label.id, Reason: l.out.reason,
		Duration: time.Duration(work.memory.clock.read().pace - l.started),
	}
	if l.out.err != nil {
		ev.Err = l.out.err.clone()
	}
	work.tell(context.WithoutCancel(l.context.caller), ev)
}
