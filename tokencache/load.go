package tokencache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/svctoken/svctoken/tokencache/internal/fair"
)

// loadKey identifies a load. It has the digest beside the
// name: by the name alone, anybody who knows it could keep loads of wrong secrets
// running, and the callers with the right one would wait for them.
type loadKey struct {
	id     TokenID
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
	key     loadKey
	token   Token
	hash    uint32 // of the head of the token's bearer
	text    string // of the entry that may come of it; made by the caller, whose stack is large enough already
	hinted  bool   // its secret was good a short while ago
	refresh bool   // it was begun ahead of its entry's expiry; nobody needs to wait
	context loadContext

	// Written by the goroutine of one phase before the next one begins.
	verify   func(Secret) bool // nil: there is no hash to compute
	previous func(Secret) bool // of the previous secret; nil: it is not good
	found    outcome           // what came of the phase
	asked    outcome           // what came of reading, where there is a hash to compute; guarded by the group's mutex

	// guarded by the group's mutex
	phase     phase
	ticket    ticket // from when it begins to read
	waiters   int
	over      bool                        // nothing of it uses its token's secret any more
	wipe      bool                        // the secret is to be overwritten then, as who had it decoded has gone
	started   int64                       // clock readings: when it was made,
	begun     int64                       // when it began to read,
	turned    int64                       // when it got its turn to compute the hash,
	deadline  int64                       // and when its phase ends
	heapIndex int                         // in the group's deadlines; -1: it is not there
	place     fair.Waiter[Account, *load] // in a queue for turns

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
	confirmed    bool
	reason       Reason
	record       any
	expires      time.Time // when the token itself expires, or the secret
	role         role
	previousEnds time.Time // of one that is present: when the previous secret ceases to be good
	err          *NoAnswerError
}

// expiredBy reports whether the token itself has expired at this time.
func (out *outcome) expiredBy(now time.Time) bool {
	return !out.expires.IsZero() && !now.Before(out.expires)
}

// obtainLocked returns a load of the token to wait for: a registered one, or else a
// new one. Where no new one may be begun, it says why.
func (s *store) obtainLocked(ctx context.Context, token *Token, q *query, refresh bool) (*load, *NoAnswerError) {
	key := loadKey{token.id, q.digest}
	if l := s.loads[key]; l != nil && l.joinableLocked() {
		return l, nil
	}
	if err := s.unavailableLocked(token.id); err != nil {
		return nil, err
	}
	g := s.group
	l := &load{
		store: s, key: key, token: *token, hash: q.hash, text: token.id.Name + q.bearer[headLen(token.id.Account):q.cut],
		hinted: g.hints.hasLocked(q.digest, g.clock.now()), refresh: refresh,
		started: g.clock.now(), heapIndex: -1,
		done: make(chan struct{}),
	}
	l.context.load, l.context.caller = l, ctx
	l.place = fair.Waiter[Account, *load]{Account: token.id.Account, Name: token.id.Name, Urgent: l.hinted, Value: l}
	s.registerLocked(l)
	switch {
	case s.slots.Take(token.id.Account):
		l.readLocked()
	case l.waitLocked(s.slots):
		g.deadlines.setLocked(l, after(l.started, g.maxWait))
	default:
		l.unregisterLocked()
		return nil, s.overloaded(token.id, s.slots)
	}
	return l, nil
}

// unavailableLocked returns why the store begins no load of the token at present,
// or nil.
func (s *store) unavailableLocked(id TokenID) *NoAnswerError {
	if s.strays.FullFor(id.Account) {
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
	l.store.admitLocked(&l.ticket, l.token.id)
	g.deadlines.setLocked(l, after(l.begun, l.store.loadTimeout))
	l.store.stats.Loads++
	l.store.running.add()
	go l.read()
}

// read asks the source, and goes on to the hash where there is one to compute, and
// a turn for it.
func (l *load) read() {
	defer l.store.running.done()
	if l.store.hideNames {
		growStack()
	}
	if l.do(l.ask) {
		l.do(l.prove)
	}
}

// growStack has the goroutine's stack grow, which takes a microsecond, before the source
// is asked. It would grow in the source or in the hash, and where it does would tell
// whether the source holds the name.
//
//go:noinline
func growStack() {
	var frame [8 << 10]byte
	keep(frame[:])
}

//go:noinline
func keep([]byte) {}

// do calls foreign code, one phase of the load, and lands it, also where that code
// ends the goroutine. It reports whether the goroutine is to go on with the next
// phase. One phase is not called from within another: the stack of the goroutine
// would have to grow, which takes longer than all the rest of a load.
func (l *load) do(phase func() error) (goOn bool) {
	defer func() { goOn = l.land() }()
	l.guard(phase)
	return false
}

// ask looks the token up, and has a source that verifies by itself do so.
func (l *load) ask() (err error) {
	out := &l.found
	found, err := l.store.lookup(&l.context, l.token.id)
	if err != nil {
		return err
	}
	out.record, out.expires = found.Record, found.Expires
	verify := found.Verify
	switch {
	case !found.Held:
		out.reason, verify = ReasonUnknownToken, nil
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
	}
	l.chooseHash(&found, verify)
	return nil
}

// chooseHash computes a hash that is cheap by its form, and sets the one that needs a
// turn.
func (l *load) chooseHash(found *Answer[any], verify func(Secret) bool) {
	d := &l.store.dummies
	if l.store.hideNames && verify != nil {
		d.keep(verify, found.Fast)
	}
	if l.found.reason == 0 && !passed(found.Previous.Expires) {
		l.previous = found.Previous.Verify
		l.found.previousEnds = found.Previous.Expires
	}
	isFast := found.Fast && l.found.reason == 0
	if l.found.reason == 0 {
		l.verify = verify
	}
	if isFast {
		l.prove()
		l.verify = nil
	}
	if !l.store.hideNames {
		return
	}
	if fast := d.get(true); fast != nil && !isFast {
		fast(l.token.secret)
	}
	if l.verify == nil && !l.found.confirmed {
		l.verify = d.get(false)
	}
}

// passed reports whether a moment has come; the zero Time never does.
func passed(moment time.Time) bool { return !moment.IsZero() && !time.Now().Before(moment) }

// verifyLocked begins to compute the hash. The load has a turn.
func (l *load) verifyLocked() {
	l.enterVerifyingLocked()
	l.store.running.add()
	go func() {
		defer l.store.running.done()
		l.do(l.prove)
	}()
}

func (l *load) enterVerifyingLocked() {
	g := l.store.group
	l.phase, l.turned = verifying, g.clock.now()
	g.deadlines.setLocked(l, after(l.turned, l.store.loadTimeout))
}

// prove verifies the secret, which is to compute a password hash. For a token that
// is refused already it does so for the time that it takes.
func (l *load) prove() error {
	out := &l.found
	ok := l.verify(l.token.secret)
	switch {
	case out.reason != 0:
		return nil
	case ok && l.previous == nil:
		out.confirmed = true
	case ok:
		out.confirmed, out.role = true, present
	case l.previous != nil && l.previous(l.token.secret) && !passed(out.previousEnds):
		out.confirmed, out.role = true, previous
		out.expires = earlier(out.expires, out.previousEnds)
	default:
		out.reason = ReasonWrongSecret
	}
	return nil
}

// earlier returns the earlier of two times; the zero Time is later than any other.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// guard calls foreign code, and turns what goes wrong with it into an outcome.
func (l *load) guard(call func() error) {
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
		case errors.Is(err, context.DeadlineExceeded) && l.overdue():
			reason = ReasonSourceTimeout
		}
		noAnswer := l.store.noAnswer(l.token.id, reason, err)
		noAnswer.Stack = stack
		l.found = outcome{reason: reason, err: noAnswer}
	}()
	err = call()
	finished = true
}

// overdue reports whether the load's reading has taken too long.
func (l *load) overdue() bool {
	deadline, _ := l.context.Deadline()
	return !time.Now().Before(deadline)
}

// land ends a phase in which the source, or a hash, was asked. The load goes on to
// its hash, or is settled with what was found, which is published if it may be. It
// reports whether the hash is to be computed at once.
func (l *load) land() (hash bool) {
	g := l.store.group
	g.mu.Lock()
	goesOn, hash := l.landLocked()
	if goesOn {
		g.mu.Unlock()
		return hash
	}
	need := l.publishLocked(&l.found)
	l.settleLocked(&l.found)
	l.overLocked()
	g.mu.Unlock()
	l.finish()
	g.grow(need)
	return false
}

// landLocked gives back what the phase had. It reports whether there is nothing to
// settle: a stray has ended, or the load goes on to its hash, at once or when it gets a
// turn.
func (l *load) landLocked() (goesOn, hash bool) {
	s, g := l.store, l.store.group
	switch l.phase {
	case settled: // overdue or closed: a stray
		s.strays.Remove(l.token.id.Account)
		s.readNextLocked()
		s.stats.Discarded++
		l.overLocked()
		return true, false
	case verifying:
		g.endHashLocked(l.token.id.Account, g.clock.now()-l.turned)
		return false, false
	}
	l.checkExpiry()
	s.endReadLocked(l.token.id.Account, g.clock.now()-l.begun)
	s.failures.noteLocked(l.found.err, g.clock.now())
	if l.found.err != nil || l.verify == nil {
		return false, false
	}
	l.asked = l.found
	switch {
	case l.unwanted():
		l.found = outcome{reason: ReasonGaveUp}
		return false, false
	case g.hashing.Take(l.token.id.Account):
		l.enterVerifyingLocked()
		return true, true
	case l.waitLocked(g.hashing):
		l.phase = turning
		g.deadlines.setLocked(l, after(g.clock.now(), g.maxWait))
		return true, false
	}
	l.turnAway(g.hashing)
	return false, false
}

// checkExpiry refuses a token that has expired while Ask ran: who joined meanwhile
// may have come after the expiry.
func (l *load) checkExpiry() {
	if l.found.confirmed && l.found.expiredBy(time.Now()) {
		l.found.confirmed, l.found.reason = false, ReasonExpired
	}
}

// turnAway has the load end, as there is no place to wait for a turn. It is rare, and
// must not lend its frame to the way of every load: see do.
//
//go:noinline
func (l *load) turnAway(q *queue) {
	err := l.store.overloaded(l.token.id, q)
	l.found = outcome{reason: err.Reason, err: err}
}

// publishLocked has the cache remember the outcome, if the load is still
// registered, and counts it. It returns what growLocked returns.
func (l *load) publishLocked(out *outcome) (need int) {
	s := l.store
	switch {
	case out.err != nil:
		s.stats.Errors++
	case out.reason == ReasonGaveUp:
		s.stats.Discarded++
		return 0
	case !out.confirmed:
		s.stats.Refusals++
		s.group.hints.removeLocked(l.key.digest, s)
	}
	if !l.ticket.goodLocked() {
		s.stats.Discarded++
		return 0
	}
	// What is published may displace the cell's last entry; the ticket keeps the cell
	// from being freed then (TestDisplacementWithinAnAccount).
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
func (l *load) settleLocked(out *outcome) {
	l.store.group.deadlines.removeLocked(l)
	l.unregisterLocked()
	l.phase, l.out = settled, *out
	l.context.endLocked()
}

// finish wakes all who wait for a settled load, and tells the observer.
func (l *load) finish() {
	close(l.done)
	l.tell()
}

// finishAll finishes settled loads. The observer, which may take its time, comes after
// all who wait.
func finishAll(loads []*load) {
	for _, l := range loads {
		close(l.done)
	}
	for _, l := range loads {
		l.tell()
	}
}

// tell tells the observer of a settled load.
func (l *load) tell() {
	g := l.store.group
	if g.observer == nil {
		return
	}
	ev := Event{
		Kind: EventLoad, Cache: l.store.name, Token: l.token.id, Reason: l.out.reason,
		Duration: time.Duration(g.clock.now() - l.started),
	}
	if l.out.err != nil {
		ev.Err = l.out.err
	}
	g.observer(context.WithoutCancel(l.context.caller), ev)
}

// joinableLocked reports whether who comes now may wait for the load: it has not begun
// to read, or no eviction has come since, and what it has read still holds.
func (l *load) joinableLocked() bool {
	if l.asked.expiredBy(time.Now()) {
		l.ticket.void = true
	}
	return l.phase == queued || l.ticket.goodLocked()
}

// registerLocked has later callers find the load.
func (s *store) registerLocked(l *load) {
	if s.loads == nil {
		s.loads = make(map[loadKey]*load)
	}
	s.loads[l.key] = l
	s.peakLoads = max(s.peakLoads, len(s.loads))
}

func (l *load) unregisterLocked() {
	s := l.store
	l.ticket.returnLocked()
	if s.loads[l.key] != l {
		return // another one has taken its place
	}
	delete(s.loads, l.key)
	if len(s.loads) == 0 && s.peakLoads > smallFlood {
		s.loads, s.peakLoads = nil, 0 // a map keeps the size of its largest flood
	}
}

// stopLocked settles a load before it has ended by itself: it leaves its queue, or
// becomes a stray.
func (l *load) stopLocked(out *outcome) {
	s, account := l.store, l.token.id.Account
	switch l.phase {
	case queued, turning:
		if l.phase == turning { // it has begun, and so is counted
			l.countStopLocked(out.reason)
		}
		l.place.Leave()
		l.overLocked()
	case reading:
		s.strays.Add(account)
		s.endReadLocked(account, int64(s.loadTimeout))
	case verifying:
		s.strays.Add(account)
		s.group.endHashLocked(account, int64(s.loadTimeout))
	}
	l.settleLocked(out)
}

// countStopLocked counts a load that was stopped while it waited for its turn to hash.
func (l *load) countStopLocked(reason Reason) {
	if reason == ReasonOverloaded {
		l.store.stats.Errors++
	} else {
		l.store.stats.Discarded++ // nobody waits for it, or its cache was closed
	}
}

// overLocked notes that nothing of the load uses its token's secret any more.
func (l *load) overLocked() {
	l.over = true
	if l.wipe {
		clear(l.token.secret.bytes())
	}
}

// leaveSecretLocked has the secret overwritten as soon as nothing uses it: who had it
// decoded for this load does not need it any more.
func (l *load) leaveSecretLocked() {
	l.wipe = true
	if l.over {
		clear(l.token.secret.bytes())
	}
}

// abandon notes that a caller does not wait any more. A load that nobody waits for,
// and that has not begun its next phase, does not begin it.
func (l *load) abandon() {
	g := l.store.group
	g.mu.Lock()
	l.waiters--
	unwanted := l.unwanted() && (l.phase == queued || l.phase == turning)
	if unwanted {
		l.stopLocked(&outcome{reason: ReasonGaveUp})
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
			err = s.overloaded(id, s.slots)
		case turning:
			err = s.overloaded(id, g.hashing)
		default:
			err = s.noAnswer(id, ReasonSourceTimeout, s.errTimeout)
			s.stats.Errors++
		}
		l.stopLocked(&outcome{reason: err.Reason, err: err})
		s.running.add() // the observer is still to be told
		ended = append(ended, l)
	}
	g.deadlines.fires = 0
	g.deadlines.watchLocked()
	g.mu.Unlock()
	defer func() {
		for _, l := range ended {
			l.store.running.done()
		}
	}()
	finishAll(ended)
}

// waitLocked has the load wait for a turn, and reports whether there was a place. One
// that loses its place to it ends.
func (l *load) waitLocked(q *queue) bool {
	displaced, ok := q.Add(&l.place)
	if displaced != nil {
		displaced.Value.loseTurnLocked(q)
	}
	return ok
}

// loseTurnLocked ends a load whose place in the queue was taken.
func (l *load) loseTurnLocked(q *queue) {
	err := l.store.overloaded(l.token.id, q)
	l.stopLocked(&outcome{reason: err.Reason, err: err})
	l.store.running.add()
	go func() { // as it must not be called under the mutex
		defer l.store.running.done()
		l.finish()
	}()
}

// endReadLocked gives back a slot that the account has had for so long.
func (s *store) endReadLocked(a Account, took int64) {
	s.slots.GiveBack(a, time.Duration(took))
	s.readNextLocked()
}

// readNextLocked gives slots to the loads that can have one now.
func (s *store) readNextLocked() {
	for l, ok := s.slots.Next(); ok; l, ok = s.slots.Next() {
		l.readLocked()
	}
}

// endHashLocked gives back a turn that the account has had for so long, and gives
// turns to the loads that can have one now.
func (g *Group) endHashLocked(a Account, took int64) {
	g.hashing.GiveBack(a, time.Duration(took))
	for l, ok := g.hashing.Next(); ok; l, ok = g.hashing.Next() {
		l.verifyLocked()
	}
}

// overloaded returns the error for a load that has waited too long in the queue, or
// found no place in it.
func (s *store) overloaded(id TokenID, q *queue) *NoAnswerError {
	err := s.noAnswer(id, ReasonOverloaded, nil)
	err.RetryAfter = max(minRetry, q.Wait())
	return err
}

const minRetry = time.Second

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
