package tokencache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
)

// loadKey identifies a load within its account. It has the digest beside the
// name: by the name alone, anybody who knows it could keep loads of wrong secrets
// running, and the callers with the right one would wait for them.
type loadKey struct {
	name   string
	digest digest
}

// A load asks one source about one token. It is registered in its cell from before
// the source is read until its result is published, an eviction selects it, or it
// is given up. Only a registered load is joined, and only a registered load's
// result is published, INVARIANTS 1 and 2 of Group. One that is not registered any
// more still answers those who wait for it.
//
// Its phases:
//
//	queued -> reading -> turning -> verifying -> settled
//
// Queued, it waits for one of the store's slots. Reading, it asks the source, in a
// goroutine of its own and with a deadline of its own, and then gives the slot
// back. Turning, it waits for one of the group's turns to compute a password hash,
// without a goroutine. Verifying, it computes the hash, in a goroutine again. Each
// phase may lead to settled at once: with what was found out, because its time is
// up, because its cache was closed, or because nobody waits for it any more. What
// still runs then is a stray: it has given its slot or turn back, and its result
// goes nowhere.
type load struct {
	store   *store
	cell    *cell
	key     loadKey
	token   Token
	hash    uint32 // of the head of the token's bearer
	hinted  bool   // its secret was good a short while ago
	refresh bool   // it was begun ahead of its entry's expiry; nobody needs to wait
	context loadContext

	// Written by the goroutine of one phase before the next one begins.
	verify func(Secret) bool
	asked  outcome // as far as it is known without verify

	// guarded by the group's mutex
	phase      phase
	registered bool
	waiters    int
	started    int64 // clock readings: when it was made,
	begun      int64 // when it began to read,
	turned     int64 // when it got its turn to compute the hash,
	deadline   int64 // and when its phase ends
	heapIndex  int   // in the group's deadlines; -1: it is not there
	place      place // in a queue for turns

	done chan struct{} // closed when the load is settled
	out  outcome       // written before that, by whoever settles it
}

type phase uint8

const (
	queued phase = iota
	reading
	turning
	verifying
	settled
)

// An outcome is what came of a load: confirmed, or refused for a reason, or an
// error with its reason.
type outcome struct {
	confirmed bool
	stale     bool // from an entry past its time
	reason    Reason
	record    any
	expires   time.Time // when the token itself expires
	err       *NoAnswerError
}

// expiredBy reports whether the token itself has expired at this time.
func (out *outcome) expiredBy(now time.Time) bool {
	return !out.expires.IsZero() && !now.Before(out.expires)
}

// obtainLocked returns a load of the token to wait for: a registered one, or else a
// new one. Where no new one may be begun, it says why.
func (s *store) obtainLocked(ctx context.Context, token *Token, q *query, refresh bool) (*load, *NoAnswerError) {
	key := loadKey{token.id.Name, q.digest}
	c := s.cells[token.id.Account]
	if c != nil {
		if l := c.loads[key]; l != nil {
			if !l.asked.expiredBy(time.Now()) {
				return l, nil
			}
			l.unregisterLocked() // what it has read held until then, and this caller came later
			c = s.cells[token.id.Account]
		}
	}
	if err := s.unavailableLocked(token.id); err != nil {
		return nil, err
	}
	if c == nil {
		c = s.newCellLocked(token.id.Account)
	}
	g := s.group
	l := &load{
		store: s, cell: c, key: key, token: *token, hash: q.hash,
		hinted: g.hints.hasLocked(q.digest, g.clock.now()), refresh: refresh,
		registered: true, started: g.clock.now(), heapIndex: -1,
		done: make(chan struct{}),
	}
	l.context = loadContext{load: l, caller: ctx}
	// Registered first: to queue may turn away another load of the cell, and the
	// cell must not be freed with it (TestEvictionAfterTurningAway).
	if c.loads == nil {
		c.loads = make(map[loadKey]*load)
	}
	c.loads[key] = l
	switch {
	case s.slots.takeLocked(l):
		l.readLocked()
	case s.slots.queueLocked(l):
		g.deadlines.setLocked(l, after(l.started, g.maxWait))
	default:
		l.unregisterLocked()
		return nil, s.overloaded(token.id, &s.slots)
	}
	return l, nil
}

// unavailableLocked returns why the store begins no load of the token at present,
// or nil.
func (s *store) unavailableLocked(id TokenID) *NoAnswerError {
	if s.strays.fullLocked(id.Account) {
		return s.noAnswer(id, ReasonUnavailable, errStrays)
	}
	if wait := s.failures.pauseLocked(s.group.clock.now()); wait > 0 {
		err := s.noAnswer(id, ReasonUnavailable, fmt.Errorf("its source keeps failing, and is left alone for a moment: %w", s.failures.last))
		err.RetryAfter = wait
		return err
	}
	return nil
}

var (
	errStrays   = errors.New("too many loads hang in its source")
	errNoVerify = errors.New("the source holds the token, and does not say how to verify its secret")
)

func (s *store) noAnswer(id TokenID, reason Reason, err error) *NoAnswerError {
	return &NoAnswerError{Cache: s.name, Token: id, Reason: reason, Err: err}
}

// readLocked begins to read. The load has a slot.
func (l *load) readLocked() {
	g := l.store.group
	l.phase, l.begun = reading, g.clock.now()
	g.deadlines.setLocked(l, after(l.begun, l.store.loadTimeout))
	l.store.stats.Loads++
	l.store.running.add()
	go l.read()
}

// read asks the source, and goes on to the hash where there is one to compute.
func (l *load) read() {
	defer l.store.running.done()
	var out outcome
	defer func() { l.land(out) }() // also where the source ends the goroutine
	l.guard(&out, l.ask)
}

// ask looks the token up, and has a source that verifies by itself do so.
func (l *load) ask(out *outcome) (err error) {
	found, err := l.store.lookup(&l.context, l.token.id)
	if err != nil {
		return err
	}
	out.record, out.expires = found.Record, found.Expires
	verify := found.Verify
	switch {
	case !found.Held:
		out.reason, verify = ReasonUnknownToken, l.store.dummy()
	case found.Disabled:
		out.reason = ReasonDisabled
	case out.expiredBy(time.Now()):
		out.reason = ReasonExpired
	case verify == nil && found.Ask == nil:
		return errNoVerify
	case verify == nil:
		if out.confirmed, err = found.Ask(&l.context, l.token.secret); err == nil && !out.confirmed {
			out.reason = ReasonWrongSecret
		}
		return err
	default:
		l.store.keepDummy(verify)
		l.verify = verify
	}
	if l.store.hideNames {
		l.verify = verify
	}
	return nil
}

// verifyLocked begins to compute the hash. The load has a turn.
func (l *load) verifyLocked() {
	l.enterVerifyingLocked()
	l.store.running.add()
	go func() {
		defer l.store.running.done()
		l.hashing()
	}()
}

func (l *load) enterVerifyingLocked() {
	g := l.store.group
	l.phase, l.turned = verifying, g.clock.now()
	g.deadlines.setLocked(l, after(l.turned, l.store.loadTimeout))
}

// hashing verifies the secret, which is to compute a password hash. For a token
// that is refused already it does so for the time that it takes.
func (l *load) hashing() {
	out := l.asked
	defer func() { l.land(out) }()
	l.guard(&out, func(out *outcome) error {
		ok := l.verify(l.token.secret)
		if out.reason == 0 {
			out.confirmed = ok
			if !ok {
				out.reason = ReasonWrongSecret
			}
		}
		return nil
	})
}

// guard calls foreign code, and turns what goes wrong with it into an outcome.
func (l *load) guard(out *outcome, call func(*outcome) error) {
	finished := false
	var err error
	defer func() {
		reason := ReasonSourceFailed
		var stack []byte
		switch {
		case !finished: // a panic, or runtime.Goexit
			err, reason, stack = panicError(recover()), ReasonSourcePanicked, debug.Stack()
		case err == nil:
			return
		case errors.Is(err, context.DeadlineExceeded) && l.context.Err() != nil:
			reason = ReasonSourceTimeout
		}
		noAnswer := l.store.noAnswer(l.token.id, reason, err)
		noAnswer.Stack = stack
		*out = outcome{reason: reason, err: noAnswer}
	}()
	err = call(out)
	finished = true
}

// land ends a phase in which the source, or a hash, was asked. The load goes on to
// its hash, or is settled with the outcome, which is published if it may be.
func (l *load) land(out outcome) {
	s, g := l.store, l.store.group
	g.mu.Lock()
	if l.phase == settled { // overdue or closed: a stray
		s.strays.endLocked(l.token.id.Account)
		s.slots.handOnAllLocked()
		s.stats.Discarded++
		g.mu.Unlock()
		return
	}
	if out.confirmed && l.phase == reading && l.registered && out.expiredBy(time.Now()) {
		out = outcome{reason: ReasonExpired} // who joined while Ask ran may have come after the expiry
	}
	if l.phase == reading {
		s.slots.giveBackLocked(l.token.id.Account, g.clock.now()-l.begun)
		s.failures.noteLocked(out.err, g.clock.now())
		if out.err == nil && l.verify != nil {
			l.asked = out
			switch {
			case l.unwanted():
				s.stats.Discarded++
				l.settleLocked(outcome{reason: ReasonGaveUp})
				g.mu.Unlock()
				l.finish()
				return
			case g.hashing.takeLocked(l):
				l.enterVerifyingLocked()
				g.mu.Unlock()
				l.hashing()
				return
			case g.hashing.queueLocked(l):
				l.phase = turning
				g.deadlines.setLocked(l, after(g.clock.now(), g.maxWait))
				g.mu.Unlock()
				return
			}
			out = outcome{reason: ReasonOverloaded, err: s.overloaded(l.token.id, &g.hashing)}
		}
	} else {
		g.hashing.giveBackLocked(l.token.id.Account, g.clock.now()-l.turned)
	}
	need := l.publishLocked(&out)
	l.settleLocked(out)
	g.mu.Unlock()
	l.finish()
	g.grow(need)
}

// publishLocked has the cache remember the outcome, if the load is still
// registered, and counts it. It returns what growLocked returns.
func (l *load) publishLocked(out *outcome) (need int) {
	s := l.store
	switch {
	case out.err != nil:
		s.stats.Errors++
	case !out.confirmed:
		s.stats.Refusals++
		s.group.hints.removeLocked(l.key.digest)
	}
	if !l.registered || l.cell.dead() {
		s.stats.Discarded++
		return 0
	}
	// In this order. What is published may displace the cell's last entry, and the
	// registered load is what keeps the cell from being freed then
	// (TestDisplacementWithinAnAccount).
	switch {
	case out.confirmed:
		need = s.rememberLocked(l, out)
	case out.err == nil:
		need = s.forgetLocked(l, out.reason)
	}
	return need
}

// settleLocked ends the load with this outcome. The caller calls finish, after it
// has let go of the mutex.
func (l *load) settleLocked(out outcome) {
	l.store.group.deadlines.removeLocked(l)
	l.unregisterLocked()
	l.phase, l.out = settled, out
}

// finish wakes all who wait for a settled load, and tells the observer.
func (l *load) finish() {
	close(l.done)
	l.context.end()
	observer := l.store.group.observer
	if observer == nil {
		return
	}
	ev := Event{
		Kind: EventLoad, Cache: l.store.name, Token: l.token.id, Reason: l.out.reason,
		Duration: time.Duration(l.store.group.clock.now() - l.started),
	}
	if l.out.err != nil {
		ev.Err = l.out.err
	}
	observer(context.WithoutCancel(l.context.caller), ev)
}

func (l *load) unregisterLocked() {
	if !l.registered {
		return
	}
	l.registered = false
	delete(l.cell.loads, l.key)
	if len(l.cell.loads) == 0 {
		l.cell.loads = nil // a map keeps the size of its largest flood
	}
	l.cell.releaseLocked()
}

// stopLocked settles a load before it has ended by itself: it leaves its queue, or
// becomes a stray.
func (l *load) stopLocked(out outcome) {
	s, account := l.store, l.token.id.Account
	switch l.phase {
	case queued, turning:
		l.place.leaveLocked()
	case reading:
		s.strays.beginLocked(account)
		s.slots.giveBackLocked(account, int64(s.loadTimeout))
	case verifying:
		s.strays.beginLocked(account)
		s.group.hashing.giveBackLocked(account, int64(s.loadTimeout))
	}
	l.settleLocked(out)
}

// abandon notes that a caller does not wait any more. A load that nobody waits for,
// and that has not begun its next phase, does not begin it.
func (l *load) abandon() {
	g := l.store.group
	g.mu.Lock()
	l.waiters--
	unwanted := l.unwanted() && (l.phase == queued || l.phase == turning)
	if unwanted {
		if l.phase == turning {
			l.store.stats.Discarded++
		}
		l.stopLocked(outcome{reason: ReasonGaveUp})
	}
	g.mu.Unlock()
	if unwanted {
		l.finish()
	}
}

// unwanted reports whether nobody waits for the load any more. The group's mutex is
// held.
func (l *load) unwanted() bool { return l.waiters == 0 && !l.refresh }

// overdue settles the loads whose phase has taken too long.
func (g *Group) overdue() {
	var ended []*load
	g.mu.Lock()
	// One by one: what one load gives back may begin the next phase of another, whose
	// time was up too until then.
	for l := g.deadlines.overdueLocked(); l != nil; l = g.deadlines.overdueLocked() {
		s, id := l.store, l.token.id
		var err *NoAnswerError
		switch l.phase {
		case queued:
			err = s.overloaded(id, &s.slots)
		case turning:
			err = s.overloaded(id, &g.hashing)
		default:
			err = s.noAnswer(id, ReasonSourceTimeout, s.errTimeout)
			s.stats.Errors++
		}
		l.stopLocked(outcome{reason: err.Reason, err: err})
		ended = append(ended, l)
	}
	g.deadlines.fires = 0
	g.deadlines.watchLocked()
	g.mu.Unlock()
	for _, l := range ended {
		l.finish()
	}
}

// panicError describes a panic of a source. The value is shown only where the
// runtime made it: anything else could hold a secret.
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
