package tokentest

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// A Source is a tokencache.Source under the control of a test: it holds what Put
// says, and fails, waits and panics when it is told to. The zero Source is empty and
// ready to use. It must not be copied after its first use.
//
// A Lookup reads first. Then it takes its latency, waits for a [Hold] that was in force
// when it began, and panics or fails if the Source had been told to by then. So its
// answer is what was true when it began, whatever has changed since: with that a test can
// show that a load in flight does not undo an eviction.
//
// It is safe for concurrent use by multiple goroutines, and it works in a bubble of
// testing/synctest.
type Source[R any] struct {
	mu      sync.Mutex // guards the fields below, up to caches
	answers map[tokencache.TokenID]tokencache.Answer[R]
	reads   map[tokencache.TokenID]int
	mood    mood
	quiet   bool

	caches tokencache.Subscribers
}

var _ tokencache.Source[string] = (*Source[string])(nil)

// A mood says how a Lookup behaves.
type mood struct {
	latency time.Duration
	err     error
	panics  any
	hold    *Hold
}

// Put adds the token, or replaces it, and tells the caches.
func (s *Source[R]) Put(token tokencache.Token, record R) {
	s.PutAnswer(token.ID(), tokencache.Answer[R]{Held: true, Record: record, Verify: token.Secret().Equal})
}

// PutAnswer makes Lookup answer this for the id, and tells the caches. It is for
// tokens that are disabled or expire, and for verifications that take their time.
func (s *Source[R]) PutAnswer(id tokencache.TokenID, answer tokencache.Answer[R]) {
	s.change(id, func() {
		if s.answers == nil {
			s.answers = make(map[tokencache.TokenID]tokencache.Answer[R])
		}
		s.answers[id] = answer
	})
}

// Remove removes the token, and tells the caches, whether there was one or not.
func (s *Source[R]) Remove(id tokencache.TokenID) {
	s.change(id, func() { delete(s.answers, id) })
}

func (s *Source[R]) change(id tokencache.TokenID, change func()) {
	s.mu.Lock()
	change()
	quiet := s.quiet
	s.mu.Unlock()
	sel, err := id.Select()
	if quiet || err != nil { // no bearer can name an invalid id
		return
	}
	s.caches.Evict(context.Background(), tokencache.CauseSource, sel)
}

// SetQuiet(true) stops the caches from being told of changes, as by a source that does
// not learn of its own; SetQuiet(false) ends that.
func (s *Source[R]) SetQuiet(quiet bool) { s.set(func() { s.quiet = quiet }) }

// SetLatency makes each Lookup that begins from now on take that long, or until its
// context is done. Zero: no time.
func (s *Source[R]) SetLatency(d time.Duration) { s.set(func() { s.mood.latency = d }) }

// SetError makes each Lookup that begins from now on fail with err. Nil: no longer.
func (s *Source[R]) SetError(err error) { s.set(func() { s.mood.err = err }) }

// SetPanic makes each Lookup that begins from now on panic with value. Nil: no longer.
func (s *Source[R]) SetPanic(value any) { s.set(func() { s.mood.panics = value }) }

// Hold makes each Lookup that begins from now on wait, until Release of the result or
// until its context is done. A second Hold takes the place of the first for Lookups
// that begin later.
func (s *Source[R]) Hold() *Hold {
	h := &Hold{released: make(chan struct{}), arrived: make(chan struct{}, 1)}
	s.set(func() { s.mood.hold = h })
	return h
}

func (s *Source[R]) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Reads returns how often these tokens have been looked up, found or not; no ids:
// how often any token has been.
func (s *Source[R]) Reads(ids ...tokencache.TokenID) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(ids) == 0 {
		for count := range maps.Values(s.reads) {
			n += count
		}
	}
	for _, id := range ids {
		n += s.reads[id]
	}
	return n
}

// Lookup answers as it was told to; see [Source].
func (s *Source[R]) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[R], error) {
	answer, mood := s.read(id)
	if err := mood.wait(ctx); err != nil {
		return tokencache.Answer[R]{}, err
	}
	if mood.panics != nil {
		panic(mood.panics)
	}
	if mood.err != nil {
		return tokencache.Answer[R]{}, mood.err
	}
	return answer, nil
}

func (s *Source[R]) read(id tokencache.TokenID) (tokencache.Answer[R], mood) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reads == nil {
		s.reads = make(map[tokencache.TokenID]int)
	}
	s.reads[id]++
	return s.answers[id], s.mood
}

func (m mood) wait(ctx context.Context) error {
	if m.latency > 0 {
		timer := time.NewTimer(m.latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if m.hold != nil {
		return m.hold.wait(ctx)
	}
	return nil
}

// Subscribe registers a cache that is to be told of every change; see tokencache.Source.
func (s *Source[R]) Subscribe(cache tokencache.Invalidator) (cancel func()) {
	return s.caches.Add(cache)
}

// Subscribers returns how many caches are subscribed.
func (s *Source[R]) Subscribers() int { return s.caches.Len() }

// A Hold keeps Lookups of a [Source] waiting. Source.Hold makes one. It is safe for
// concurrent use by multiple goroutines.
type Hold struct {
	once     sync.Once
	released chan struct{}

	mu      sync.Mutex // guards waiting
	waiting int
	arrived chan struct{} // has an element when waiting has grown
}

func (h *Hold) wait(ctx context.Context) error {
	h.mu.Lock()
	h.waiting++
	h.mu.Unlock()
	select {
	case h.arrived <- struct{}{}:
	default:
	}
	select {
	case <-h.released:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Await returns when n Lookups in all have begun to wait, or the context is done,
// with its error. Only one goroutine may await at a time. In a bubble,
// synctest.Wait does as well.
func (h *Hold) Await(ctx context.Context, n int) error {
	for {
		h.mu.Lock()
		enough := h.waiting >= n
		h.mu.Unlock()
		if enough {
			return nil
		}
		select {
		case <-h.arrived:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Release lets the reads that wait go on, and those that would. Releasing again does
// nothing.
func (h *Hold) Release() { h.once.Do(func() { close(h.released) }) }
