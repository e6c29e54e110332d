package indexsource

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/svctoken/svctoken/tokencache"
)

// A Source answers from an [Index], and tells its caches of the index's changes.
// [New] makes one. It is safe for concurrent use by multiple goroutines.
type Source struct {
	index Index

	changing sync.Mutex // one change of state at a time
	state    State      // guarded by changing

	// watching is held while the index is called to watch or to end it. The hooks
	// do not take it, so that an index may call them meanwhile.
	watching sync.Mutex
	unwatch  func() // guarded by watching; nil: nobody subscribes

	mu     sync.Mutex // guards caches
	caches map[*subscription]struct{}
}

type subscription struct{ tokencache.Invalidator }

var _ tokencache.Source[Document] = (*Source)(nil)

// New returns a source for the index. It watches the index as long as a cache is
// subscribed: from tokencache.New to the cache's Close.
func New(index Index) *Source {
	return &Source{index: index, caches: make(map[*subscription]struct{})}
}

// Lookup gets the token's document, for a cache. A document which is not enabled
// is none.
func (s *Source) Lookup(ctx context.Context, token tokencache.Token) (Document, tokencache.Verifier, error) {
	doc, ok, err := s.index.Get(ctx, token.ID())
	if err != nil || !ok || !doc.Enabled {
		return Document{}, nil, err
	}
	hash := doc.Hash
	doc.Hash = Hash{} // the record outlives the load
	return doc, hash, nil
}

// Subscribe has the cache told of every change; see tokencache.Source.
func (s *Source) Subscribe(cache tokencache.Invalidator) (cancel func()) {
	sub := &subscription{cache}
	s.watching.Lock()
	defer s.watching.Unlock()
	s.setSubscription(sub, true)
	if s.unwatch == nil {
		s.unwatch = s.index.Watch(s)
	}
	return func() { s.unsubscribe(sub) }
}

func (s *Source) unsubscribe(sub *subscription) {
	s.watching.Lock()
	defer s.watching.Unlock()
	s.setSubscription(sub, false)
	if len(s.subscribers()) == 0 && s.unwatch != nil {
		s.unwatch()
		s.unwatch = nil
	}
}

func (s *Source) setSubscription(sub *subscription, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		s.caches[sub] = struct{}{}
	} else {
		delete(s.caches, sub)
	}
}

func (s *Source) subscribers() []*subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.caches))
}

// DocumentChanged is the hook for a document that was created, replaced,
// disabled or deleted: the caches of the index forget its token, and have done so
// when it returns. Creation counts, as a load that found nothing may be in flight.
func (s *Source) DocumentChanged(id tokencache.TokenID) {
	sel, err := id.Account.Select(id.Name)
	if err != nil {
		return // no bearer can name it
	}
	for _, cache := range s.subscribers() {
		cache.Evict(sel)
	}
}

// StateChanged is the hook for the index's state. Where the change from the last
// state to this one makes verdicts doubtful, see [State.Clears], the caches of the
// index forget everything, and have done so when it returns. It reports whether
// they did. Before the first call the state is the zero State.
//
// Calls must come in the order of the changes; one waits for another.
func (s *Source) StateChanged(next State) bool {
	s.changing.Lock()
	defer s.changing.Unlock()
	last := s.state
	s.state = next
	if !last.Clears(next) {
		return false
	}
	for _, cache := range s.subscribers() {
		cache.Clear()
	}
	return true
}

// State returns the state that StateChanged was last told.
func (s *Source) State() State {
	s.changing.Lock()
	defer s.changing.Unlock()
	return s.state
}
