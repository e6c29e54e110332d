package tokencache

import (
	"context"
	"maps"
	"slices"
)

// Evict forgets the selected tokens in every cache of the group, at one instant.
// When it returns, no authentication that starts afterwards gets an answer which
// a source gave before Evict was called; loads in flight for the selected tokens
// still answer their callers, but are neither stored nor joined.
//
// It returns how many live entries went from each cache, by the cache's name. An
// account or a token that nobody knows is no error: nothing goes. Evict waits for no
// source, and takes time in proportion to what goes, not to what the caches hold. The
// context carries values to the observer; its end does not matter.
func (g *Group) Evict(ctx context.Context, sels ...Selector) map[string]int {
	return g.evict(ctx, CauseAsked, g.caches(), sels, selectionOf(sels))
}

// Clear forgets everything in every cache of the group, at one instant, with the
// same guarantees as [Group.Evict]. It returns how many live entries went from
// each cache, by the cache's name.
func (g *Group) Clear(ctx context.Context) map[string]int {
	return g.evict(ctx, CauseAsked, g.caches(), nil, selection{everything: true})
}

// Invalidator returns all caches of the group as one [Invalidator], whose caller says
// why. It is for what a shared index reports of other nodes, with [CauseNode].
func (g *Group) Invalidator() Invalidator { return groupInvalidator{g} }

type groupInvalidator struct{ group *Group }

func (i groupInvalidator) Evict(ctx context.Context, why Cause, sels ...Selector) int {
	return sum(i.group.evict(ctx, why, i.group.caches(), sels, selectionOf(sels)))
}

func (i groupInvalidator) Clear(ctx context.Context, why Cause) int {
	return sum(i.group.evict(ctx, why, i.group.caches(), nil, selection{everything: true}))
}

func sum(evicted map[string]int) (n int) {
	for _, gone := range evicted {
		n += gone
	}
	return n
}

// Evict forgets the selected tokens in this cache alone, at one instant, with the
// guarantees of [Group.Evict]. It returns how many live entries went.
func (c *Cache[R]) Evict(ctx context.Context, why Cause, sels ...Selector) int {
	return c.group.evict(ctx, why, []*store{c.store}, sels, selectionOf(sels))[c.Name()]
}

// Clear forgets everything in this cache alone, at one instant, with the
// guarantees of [Group.Evict]. It returns how many live entries went.
func (c *Cache[R]) Clear(ctx context.Context, why Cause) int {
	return c.group.evict(ctx, why, []*store{c.store}, nil, selection{everything: true})[c.Name()]
}

// evict evicts what is selected from the stores, and tells the observer. A nil sels, to
// the observer, is everything.
func (g *Group) evict(ctx context.Context, why Cause, stores []*store, sels []Selector, sel selection) map[string]int {
	if ctx == nil {
		panic("tokencache: the context is nil") // before anything happens
	}
	evicted := g.memory.forget(why, shelvesOf(stores), sel, func() {
		for _, s := range stores {
			if why == CauseSource || why == CauseState {
				s.backoff.resetLocked() // it works, or is another one
			}
		}
	})
	if sels == nil && !sel.everything {
		sels = []Selector{}
	}
	g.tellEviction(ctx, why, stores, sels, evicted)
	return evicted
}

func shelvesOf(stores []*store) []*shelf {
	shelves := make([]*shelf, len(stores))
	for i, s := range stores {
		shelves[i] = s.shelf
	}
	return shelves
}

// tellEviction tells the observer, with copies of the caller's slices and maps.
func (g *Group) tellEviction(ctx context.Context, why Cause, stores []*store, sels []Selector, evicted map[string]int) {
	if g.work.observer == nil {
		return
	}
	event := Event{Kind: EventEviction, Cause: why, Selectors: slices.Clone(sels), Evicted: maps.Clone(evicted)}
	if len(stores) == 1 {
		event.Cache = stores[0].shelf.name
	}
	g.work.tell(context.WithoutCancel(ctx), event)
}

// close closes stores at one instant, by an eviction of everything that they hold.
// Afterwards they neither remember nor load anything.
func (g *Group) close(stores []*store) {
	var closing []*store
	var ended []*load
	evicted := g.memory.forget(CauseClosed, shelvesOf(stores), selection{everything: true}, func() {
		for _, s := range stores {
			if s.shelf.closed.Load() {
				continue
			}
			s.shelf.closed.Store(true)
			closing = append(closing, s)
			s.running.add() // for the end of the subscription: a caller that finds the store closed can wait for it
			ended = append(ended, s.stopLoadsLocked()...)
		}
	})
	for _, s := range closing {
		// This calls the source's code, and nobody waits for it. It comes last: changes
		// must arrive until nothing is served any more.
		go s.endSubscription()
	}
	finishAll(ended)
	if len(closing) > 0 {
		g.tellEviction(context.Background(), CauseClosed, stores, nil, evicted)
	}
}

// endSubscription calls the source's code, whose panic is contained: it must not end the
// process.
func (s *store) endSubscription() {
	defer s.running.done()
	defer func() { _ = recover() }()
	s.cancel()
}
