package tokencache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// flightKey identifies a load within its account. It has the digest beside the
// name: by the name alone, anybody who knows it could keep loads of wrong
// secrets in flight, and the callers with the right one would queue behind them.
type flightKey struct {
	name   string
	digest digest
}

// A flight is one load. It is registered in its cell from before the source is
// read until its result is published, an eviction selects it, or it is overdue.
// Only a registered flight is joined, and only a registered flight's result is
// published: INVARIANTS 1 and 2 of Group. One that is not registered any more
// still answers those who wait for it.
//
// It runs in a goroutine of its own, with a deadline of its own, so that a
// caller that gives up takes nothing away from the others. The flight itself is the
// context that the source gets, see flight_context.go: the standard library's would
// double what an uncontended miss allocates (BenchmarkMiss in internal/peers).
type flight struct {
	store   *store
	cell    *cell
	key     flightKey
	token   Token
	hash    uint32
	started int64           // clock reading, before the source is read
	caller  context.Context // of who started it, for its values

	// guarded by the group's mutex
	registered    bool
	before, after *flight // in the store's list of unsettled loads

	// done is closed when the flight is settled: it has landed, or there will be no
	// answer for those who wait. The rest is written before, and not changed then.
	done    chan struct{}
	settled settlement // guarded by the group's mutex too
	answer  answer
	err     error
}

// A settlement says how a flight has been settled.
type settlement int

const (
	flying  settlement = iota
	landed             // there is an answer
	overdue            // its source took too long
	dropped            // its cache was closed
)

// settleLocked settles the flight and reports true, unless it was settled before.
// The caller then closes done, after it has let go of the mutex: that wakes all who
// wait.
func (f *flight) settleLocked(how settlement) bool {
	if f.settled != flying {
		return false
	}
	f.settled = how
	f.store.unsettled.removeLocked(f)
	return true
}

// An answer is what a source says of a token, from memory or afresh: its record,
// or not ok, which is a refusal.
type answer struct {
	record any
	ok     bool
}

// errNoSlot tells authenticate to wait for one of the store's slots.
var errNoSlot = errors.New("no slot")

// authenticate answers from the entry of the token's name, or from a load. The
// query is the token's.
func (s *store) authenticate(ctx context.Context, token Token, q *query) (answer, error) {
	if e, hit := s.peek(q); e != nil {
		return s.answerFrom(e, hit), nil
	}
	if s.mayHold != nil && !s.mayHold(token.id) {
		return answer{}, nil
	}
	f, a, err := s.decide(ctx, token, q, s.slots.TryAcquire(1))
	for err == errNoSlot {
		// The wait is the caller's own. Nothing has been started for it, so that
		// what waits is bounded by who waits.
		if err := s.slots.Acquire(ctx, 1); err != nil {
			return answer{}, s.wrap(fmt.Errorf("gave up waiting to start a load: %w", err))
		}
		f, a, err = s.decide(ctx, token, q, true)
	}
	if f == nil {
		return a, err
	}
	return f.wait(ctx)
}

// answerFrom answers from a live entry.
func (s *store) answerFrom(e *entry, hit bool) answer {
	if !hit {
		s.hits.mismatch()
		return answer{}
	}
	s.hits.hit()
	s.touch(e)
	return answer{e.record, true}
}

// decide looks again under the mutex, and returns the answer that is there by
// now, or else a flight to wait for: one that is registered, or a new one, which
// takes the slot. It returns errNoSlot when it needs one and has none.
func (s *store) decide(ctx context.Context, token Token, q *query, slot bool) (*flight, answer, error) {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	f, a, err := s.joinLocked(ctx, token.id, q)
	if f == nil && !a.known && err == nil {
		if slot {
			return s.startLocked(ctx, token, q), answer{}, nil
		}
		return nil, answer{}, errNoSlot
	}
	if slot {
		s.slots.Release(1)
	}
	return f, a.answer, err
}

// A maybe is an answer, if known.
type maybe struct {
	answer
	known bool
}

// joinLocked returns the answer that is there, or a flight that may be joined, or
// neither.
func (s *store) joinLocked(ctx context.Context, id TokenID, q *query) (*flight, maybe, error) {
	if s.closed {
		return nil, maybe{}, s.wrap(ErrClosed)
	}
	if e := s.findLocked(q.hash, id); e != nil {
		if e.live(&s.group.clock) {
			return nil, maybe{s.answerFrom(e, e.digest.equal(&q.digest)), true}, nil
		}
		s.removeLocked(e)
		s.stats.Expired++
	}
	if err := ctx.Err(); err != nil {
		return nil, maybe{}, s.wrap(fmt.Errorf("gave up before a load: %w", err))
	}
	c := s.cells[id.Account]
	if c == nil {
		return nil, maybe{}, nil
	}
	f := c.flights[flightKey{id.Name, q.digest}]
	if f == nil {
		return nil, maybe{}, nil
	}
	if f.settled != flying || f.left() <= 0 { // whoever comes now deserves a new one
		f.unregisterLocked()
		s.releaseLocked(c)
		return nil, maybe{}, nil
	}
	s.stats.Misses++
	return f, maybe{}, nil
}

// startLocked registers a flight and starts it.
func (s *store) startLocked(ctx context.Context, token Token, q *query) *flight {
	c := s.cells[token.id.Account]
	if c == nil {
		c = newCell(token.id.Account)
		s.cells[c.account] = c
	}
	f := &flight{
		store: s, cell: c, token: token, hash: q.hash,
		key:        flightKey{token.id.Name, q.digest},
		started:    s.group.clock.now(),
		caller:     ctx,
		registered: true,
		done:       make(chan struct{}),
	}
	if c.flights == nil {
		c.flights = make(map[flightKey]*flight)
	}
	c.flights[f.key] = f
	s.loading++
	s.unsettled.addLocked(f)
	s.watchLocked()
	s.stats.Misses++
	s.stats.Loads++
	s.loads.Add(1)
	go f.run() // loads.Go would allocate twice more
	return f
}

func (f *flight) unregisterLocked() {
	f.registered = false
	delete(f.cell.flights, f.key)
}

// run performs the load, publishes its result and tells those who wait.
func (f *flight) run() {
	s := f.store
	finished := false
	var a answer
	var err error
	defer func() {
		if !finished { // a panic, or runtime.Goexit
			a, err = answer{}, s.wrap(panicError(recover()))
		}
		f.land(a, err)
	}()
	a, err = f.load()
	finished = true
}

// load asks the source.
func (f *flight) load() (answer, error) {
	s := f.store
	found, err := s.lookup(f, f.token.id)
	if ended := f.Err(); ended != nil && errors.Is(err, ended) {
		err = f.ended()
	}
	if err != nil {
		return answer{}, s.wrap(err)
	}
	if !found.Held || found.Disabled {
		return answer{}, nil
	}
	if found.Verify == nil {
		return answer{}, s.wrap(errNoVerify)
	}
	if h := s.group.hashing; h != nil {
		if err := h.Acquire(f, 1); err != nil {
			return answer{}, s.wrap(f.ended())
		}
		defer h.Release(1)
	}
	if !found.Verify(f.token.secret) {
		return answer{}, nil
	}
	return answer{found.Record, true}, nil
}

var errNoVerify = errors.New("the source holds the token, and does not say how to verify its secret")

// land publishes the result if it may be, and ends the flight.
func (f *flight) land(a answer, err error) {
	s := f.store
	s.group.mu.Lock()
	if err != nil {
		s.stats.Errors++
	} else if !a.ok {
		s.stats.Refusals++
	}
	if f.registered {
		// Published and taken off the register at once: a caller finds one or the
		// other. In this order: publication may displace the cell's last entry, and
		// the registered flight is what keeps the cell from being freed then
		// (TestDisplacementWithinAnAccount).
		if a.ok {
			s.publishLocked(f, a.record)
		}
		f.unregisterLocked()
		s.releaseLocked(f.cell)
	} else {
		s.stats.Discarded++
	}
	s.loading--
	first := f.settleLocked(landed)
	s.group.mu.Unlock()
	f.token = Token{} // a source may keep its context, but not the secret by it
	if first {
		f.answer, f.err = a, err
		close(f.done)
	}
	s.slots.Release(1)
	s.loads.Done()
}

// wait waits for the flight's answer, or for the caller or the load to give up.
func (f *flight) wait(ctx context.Context) (answer, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		return answer{}, f.store.wrap(fmt.Errorf("gave up waiting for a load: %w", ctx.Err()))
	}
	if f.settled != landed {
		return answer{}, f.store.wrap(f.ended())
	}
	return f.answer, f.err
}

// ended says why a flight that did not land was settled.
func (f *flight) ended() error {
	if f.settled == overdue {
		return f.store.errTimeout
	}
	return ErrClosed
}

// panicError describes a panic of a source or verifier. The value is shown only
// where the runtime made it: anything else could hold a secret.
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
