package tokencache

import (
	"context"
	"slices"
	"sync"
)

// Subscribers is the set of caches that a [Source] has to tell of its changes.
// The zero Subscribers is empty and ready to use. It must not be copied after its
// first use.
//
// Keep it in a field, and write Subscribe in one line: a store that embeds it would
// export Add, Len, Evict and Clear to all code that has the store.
//
// It is an [Invalidator] that passes each call on to all of them, one after the other,
// and holds no lock meanwhile: they may subscribe, and end their subscriptions, at any
// time. One that panics does not keep the others from being told. It is safe for
// concurrent use by multiple goroutines.
type Subscribers struct {
	mu   sync.Mutex // guards list
	list []*subscription
}

type subscription struct{ cache Invalidator }

var _ Invalidator = (*Subscribers)(nil)

// Add adds a cache, and returns the function that removes it again; further calls
// of that function do nothing. A cache that is added twice is told twice.
func (s *Subscribers) Add(cache Invalidator) (cancel func()) {
	sub := &subscription{cache}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, sub)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.list = slices.DeleteFunc(s.list, func(other *subscription) bool { return other == sub })
	}
}

// Len returns how many caches there are.
func (s *Subscribers) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

// Evict makes every cache forget the selected tokens, and returns how many live
// entries went in all.
func (s *Subscribers) Evict(ctx context.Context, why Cause, sels ...Selector) int {
	return s.tell(ctx, func(cache Invalidator) int { return cache.Evict(ctx, why, sels...) })
}

// Clear makes every cache forget everything, and returns how many live entries went
// in all.
func (s *Subscribers) Clear(ctx context.Context, why Cause) int {
	return s.tell(ctx, func(cache Invalidator) int { return cache.Clear(ctx, why) })
}

func (s *Subscribers) tell(ctx context.Context, one func(Invalidator) int) int {
	if ctx == nil {
		panic("tokencache: the context is nil") // before anything happens
	}
	s.mu.Lock()
	list := slices.Clone(s.list)
	s.mu.Unlock()
	return tellAll(list, one)
}

// tellAll tells each cache of the list. If one of them panics, or ends the goroutine, the
// others are told before that takes effect.
func tellAll(list []*subscription, one func(Invalidator) int) (gone int) {
	told := 0
	defer func() {
		if told < len(list) {
			tellAll(list[told+1:], one)
		}
	}()
	for ; told < len(list); told++ {
		gone += one(list[told].cache)
	}
	return gone
}
