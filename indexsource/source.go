package indexsource

import (
	"context"
	"sync"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// A Source answers from an [Index], and tells its caches of the index's changes.
// [New] makes one. It is safe for concurrent use by multiple goroutines.
type Source struct {
	index Index

	changing sync.Mutex // one change of state at a time
	reading  sync.Mutex // guards state; no foreign code runs under it, so that an observer may ask for the state
	state    State

	// watching is held while the index begins or ends to watch. The hooks do not take it,
	// so that an index may call them meanwhile.
	watching sync.Mutex
	unwatch  func() // guarded by watching; nil: nobody subscribes

	caches tokencache.Subscribers
}

var _ tokencache.Source[Document] = (*Source)(nil)

// New returns a source for the index. It watches the index as long as a cache is
// subscribed: from tokencache.New to the cache's Close.
func New(index Index) *Source {
	return &Source{index: index}
}

// Lookup gets the token's document, for a cache. A document that is disabled is
// refused, and so is one past its Expires, by the cache's clock. The previous secret is
// good until PreviousExpires, by that clock.
func (s *Source) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[Document], error) {
	doc, ok, err := s.index.Get(ctx, id)
	if err != nil || !ok {
		return tokencache.Answer[Document]{}, err
	}
	answer := tokencache.Answer[Document]{
		Held: true, Disabled: !doc.Enabled, Expires: doc.Expires,
		Verify: doc.Hash.Verify, Fast: doc.Hash.Fast() && doc.Previous.Fast(),
	}
	if !doc.PreviousExpires.IsZero() && doc.Previous != (tokenhash.Hash{}) {
		answer.Previous.Verify, answer.Previous.Expires = doc.Previous.Verify, doc.PreviousExpires
	}
	doc.Hash, doc.Previous = tokenhash.Hash{}, tokenhash.Hash{} // the record outlives the load
	answer.Record = doc
	return answer, nil
}

// Subscribe tells the cache of every change; see tokencache.Source.
func (s *Source) Subscribe(cache tokencache.Invalidator) (cancel func()) {
	s.watching.Lock()
	defer s.watching.Unlock()
	remove := s.caches.Add(cache)
	if s.unwatch == nil {
		s.unwatch = s.index.Watch(s)
	}
	return func() { s.unsubscribe(remove) }
}

func (s *Source) unsubscribe(remove func()) {
	s.watching.Lock()
	defer s.watching.Unlock()
	remove()
	if s.caches.Len() == 0 && s.unwatch != nil {
		s.unwatch()
		s.unwatch = nil
	}
}

// DocumentChanged is the hook for a document that was created, replaced, disabled or
// deleted: the caches of the index forget its token, and have done so when it returns.
// Call it for a creation too: a load that found nothing may be in flight.
func (s *Source) DocumentChanged(id tokencache.TokenID) {
	sel, err := id.Select()
	if err != nil {
		return // no bearer can name it
	}
	s.caches.Evict(context.Background(), tokencache.CauseSource, sel)
}

// AccountChanged is the hook for a change of any number of an account's tokens: the
// caches of the index forget all of them, and have done so when it returns.
func (s *Source) AccountChanged(account tokencache.Account) {
	sel, err := account.SelectAll()
	if err != nil {
		return // no bearer can name it
	}
	s.caches.Evict(context.Background(), tokencache.CauseSource, sel)
}

// EverythingChanged is the hook for changes that cannot be named: they are too many,
// or the index was set back to an older copy of itself. The caches of the index
// forget everything, and have done so when it returns.
func (s *Source) EverythingChanged() {
	s.caches.Clear(context.Background(), tokencache.CauseSource)
}

// StateChanged is the hook for the index's state. If the change from the last
// state to this one makes verdicts doubtful, see [State.Clears], the caches of the
// index forget everything, and have done so when it returns. It reports whether
// they did. Before the first call the state is the zero State.
//
// Calls must come in the order of the changes; one waits for another.
func (s *Source) StateChanged(next State) bool {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.reading.Lock()
	last := s.state
	s.state = next
	s.reading.Unlock()
	if !last.Clears(next) {
		return false
	}
	s.caches.Clear(context.Background(), tokencache.CauseState)
	return true
}

// State returns the last state that StateChanged was given.
func (s *Source) State() State {
	s.reading.Lock()
	defer s.reading.Unlock()
	return s.state
}
