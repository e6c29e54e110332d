package tokencache

import (
	"context"
	"slices"
	"sync/atomic"
)

// This file is what happens when something is evicted, from the call to the report,
// and why it happens at one instant.
//
// # Promise
//
// Once an eviction has returned, no authentication that starts afterwards gets a
// verdict which derives from a source read that began before the eviction was
// called. If anybody has seen an eviction's effect in one cache, nobody who looks
// afterwards sees the state before it in another.
//
// # Why it holds
//
// Everything that changes a group happens under one mutex, mu: to register a load,
// to publish its result, to unlink an entry, to mark and evict. It is never held
// during a source read, a password hash, a wait, or a call into foreign code. What
// remains to be shown is that hits, which take no lock, fit in between.
//
//   - INVARIANT 1 (loads). A load is registered, in a live cell, under mu before it
//     reads the source, and its result is published under mu only if it is
//     registered still and the cell is alive. An eviction takes the loads that it
//     selects off the register, or kills their cells, under mu, whether or not
//     anything is remembered for them.
//   - INVARIANT 2 (joins). A caller joins only a registered load of a live cell,
//     under mu.
//   - INVARIANT 3 (marks). An eviction first puts itself, not done, into the mark of
//     every cell and era that it selects; entries that it selects by name get a
//     marked copy of their cell as their owner. Then it sets done. All of it
//     happens in one section under mu, so that nothing carries two marks. Entries
//     are unlinked afterwards.
//   - INVARIANT 4 (the unlinked are dead). An entry that is unlinked for another
//     reason (displaced, replaced, expired) gets a dead owner, under mu.
//   - INVARIANT 5 (hits). The last thing that a hit does is to load the entry's
//     owner, its mark and its era's mark, and done of what it finds there. If one
//     is done, the hit is a miss.
//
// The instant of an eviction is the store to done: one store to one word, whatever
// the number of names and caches. The instant of a hit is its last load of the
// owner. An eviction whose instant came before had set its marks before, by 3, so
// the hit finds one of them done, by 5; or the entry had been unlinked before, by
// 4, and the hit finds a dead owner. So each hit that confirms came before each
// eviction that selects its entry. A verdict that did not come from an entry came
// from a load. By 1 and 2, one that began before the eviction took mu is neither
// published nor joined once the eviction has released it. That is freshness, and
// with the single store it is atomicity: order the operations by their instants (a
// load: the source's own) and the order explains every result. internal/harness/lincheck
// checks the same, in the same words, with random histories; schedule_test.go walks
// through the windows one by one.
//
// A remembered absence is an entry like others, and all of this holds for it.
//
// # What it costs
//
// The mutex is held for as long as it takes to mark: one word for all of a cache,
// one for all of an account, a tenth of a microsecond for each name. Entries are
// unlinked and counted afterwards by the caller of the eviction, unlinkStep of them
// at a time, and others can have the mutex in between.
//
// # Rejected
//
// A generation for each account, taken before the read and compared before the
// publication: it needs a rule for how long to remember generations, which is where
// real caches went wrong, and it makes a list of names in two caches more than one
// word. A sequence lock for each account: its readers have to wait for an eviction,
// and it does not cover two accounts, or a whole cache, at one instant. A map that
// is replaced as a whole: its cost grows with the account.

// An eviction is what all marks that it sets point to.
type eviction struct {
	done atomic.Bool
	at   int64 // clock reading: which entries had expired before

	// guarded by the group's mutex
	gone  map[*store]int // live entries that went
	cells []*cell        // marked ones
	eras  []*era         // marked ones
	names []*entry       // entries with a marked owner
}

const unlinkStep = 64

// Evict forgets the selected tokens in every cache of the group, at one instant.
// When it returns, no authentication that starts afterwards gets an answer which
// a source gave before Evict was called; loads in flight for the selected tokens
// still answer those who wait for them, but are neither stored nor joined.
//
// It returns how many live entries went from each cache, by the cache's name. An
// account or a token that nobody knows is no error: nothing goes. It waits for no
// source, and takes time in proportion to what goes, not to what the caches hold.
// The context carries values to the observer; its end does not matter. The cause
// is CauseAsked for what an operator or a program asks for.
func (g *Group) Evict(ctx context.Context, why Cause, sels ...Selector) map[string]int {
	return g.evictSelected(ctx, why, *g.stores.Load(), sels)
}

// Clear forgets everything in every cache of the group, at one instant, with the
// same guarantees as [Group.Evict]. It returns how many live entries went from
// each cache, by the cache's name.
func (g *Group) Clear(ctx context.Context, why Cause) map[string]int {
	return g.evict(ctx, why, *g.stores.Load(), nil, (*store).markAllLocked)
}

// Evict forgets the selected tokens in this cache alone, at one instant, with the
// guarantees of [Group.Evict]. It returns how many live entries went.
func (c *Cache[R]) Evict(ctx context.Context, why Cause, sels ...Selector) int {
	return c.store.group.evictSelected(ctx, why, []*store{c.store}, sels)[c.store.name]
}

// Clear forgets everything in this cache alone, at one instant, with the
// guarantees of [Group.Evict]. It returns how many live entries went.
func (c *Cache[R]) Clear(ctx context.Context, why Cause) int {
	return c.store.group.evict(ctx, why, []*store{c.store}, nil, (*store).markAllLocked)[c.store.name]
}

// evictSelected evicts what the selectors select.
func (g *Group) evictSelected(ctx context.Context, why Cause, stores []*store, sels []Selector) map[string]int {
	if sels == nil {
		sels = []Selector{} // to an observer, nil is everything
	}
	return g.evict(ctx, why, stores, sels, func(s *store, ev *eviction) {
		for _, sel := range sels {
			s.markLocked(ev, sel)
		}
	})
}

// evict is the one eviction, and tells the observer.
func (g *Group) evict(ctx context.Context, why Cause, stores []*store, sels []Selector, mark func(*store, *eviction)) map[string]int {
	evicted := g.forget(why, stores, mark)
	g.tellEviction(ctx, why, stores, sels, evicted)
	return evicted
}

// forget is evict without the observer. mark marks what is selected in a store.
func (g *Group) forget(why Cause, stores []*store, mark func(*store, *eviction)) map[string]int {
	g.mu.Lock()
	ev := g.markLocked(why, stores, mark)
	g.happenLocked(ev, why)
	g.settleMarkedLocked(ev)
	g.mu.Unlock()

	for more := true; more; {
		g.mu.Lock()
		more = g.unlinkMarkedLocked(ev)
		g.mu.Unlock()
	}
	evicted := make(map[string]int, len(stores))
	for _, s := range stores {
		evicted[s.name] = ev.gone[s]
	}
	return evicted
}

func (g *Group) tellEviction(ctx context.Context, why Cause, stores []*store, sels []Selector, evicted map[string]int) {
	if g.observer == nil {
		return
	}
	event := Event{Kind: EventEviction, Cause: why, Selectors: sels, Evicted: evicted}
	if len(stores) == 1 {
		event.Cache = stores[0].name
	}
	g.observer(context.WithoutCancel(ctx), event)
}

// markLocked marks everything that is selected.
func (g *Group) markLocked(why Cause, stores []*store, mark func(*store, *eviction)) *eviction {
	ev := &eviction{at: g.clock.now(), gone: make(map[*store]int, len(stores))}
	for _, s := range stores {
		mark(s, ev)
		if why == CauseSource || why == CauseState {
			s.failures = failures{longest: s.failures.longest} // it works, or is another one
		}
	}
	return ev
}

// happenLocked is the instant of an eviction. A change of a source is counted after
// it: whoever refuses a token from memory, and finds the same count before and after
// that, must not have seen what a change that is counted has evicted
// (TestMoveWhileRefusedFromMemory).
func (g *Group) happenLocked(ev *eviction, why Cause) {
	ev.done.Store(true)
	if why != CauseAsked {
		g.changes.Add(1)
	}
}

// markLocked marks what a selector selects in the store, and takes its loads off
// the register.
func (s *store) markLocked(ev *eviction, sel Selector) {
	c := s.cells[sel.account]
	switch {
	case c == nil:
	case sel.all:
		c.mark.by.Store(ev)
		ev.cells = append(ev.cells, c)
		delete(s.cells, c.account) // whatever comes now begins another cell
	default:
		s.markNamesLocked(ev, c, sel)
	}
}

func (s *store) markNamesLocked(ev *eviction, c *cell, sel Selector) {
	for t := c.tickets; t != nil; t = t.next {
		t.void = t.void || sel.Selects(TokenID{sel.account, t.name})
	}
	var owner *cell
	for _, name := range sel.names {
		id := TokenID{sel.account, name}
		for e := s.findLocked(s.group.hashID(id), id); e != nil; e = s.nextLocked(e, id) {
			if e.owner.Load() != c {
				continue // marked already: the name is selected twice
			}
			if owner == nil {
				owner = c.marked(ev)
			}
			e.owner.Store(owner)
			ev.names = append(ev.names, e)
		}
	}
}

// markAllLocked marks all of the store.
func (s *store) markAllLocked(ev *eviction) {
	s.era.mark.by.Store(ev)
	ev.eras = append(ev.eras, s.era)
	s.beginEraLocked()
}

// beginEraLocked has the store hold nothing.
func (s *store) beginEraLocked() {
	s.era = &era{store: s}
	s.cells = make(map[Account]*cell)
}

// settleMarkedLocked takes what was evicted off the counts.
func (g *Group) settleMarkedLocked(ev *eviction) {
	for _, c := range ev.cells {
		c.era.count -= c.count
	}
}

// unlinkMarkedLocked unlinks some of what was evicted, and reports whether there is
// more. Another eviction may have unlinked some of it, or a displacement.
func (g *Group) unlinkMarkedLocked(ev *eviction) (more bool) {
	for range unlinkStep {
		e := ev.nextLocked()
		if e == nil {
			g.stopClockLocked()
			return false
		}
		s := e.owner.Load().era.store
		if !e.absent {
			g.hints.addLocked(e.digest, s, ev.at)
		}
		s.unlinkLocked(e)
	}
	return true
}

// nextLocked returns an evicted entry that is still linked, or nil.
func (ev *eviction) nextLocked() *entry {
	for n := len(ev.names); n > 0; n = len(ev.names) {
		e := ev.names[n-1]
		ev.names = ev.names[:n-1]
		if e.owner.Load() != gone {
			return e
		}
	}
	for n := len(ev.cells); n > 0; n = len(ev.cells) {
		if e := ev.cells[n-1].entries; e != nil {
			return e
		}
		ev.cells = ev.cells[:n-1]
	}
	for n := len(ev.eras); n > 0; n = len(ev.eras) {
		c := ev.eras[n-1].cells
		switch {
		case c == nil:
			ev.eras = ev.eras[:n-1]
		case c.entries != nil:
			return c.entries
		default:
			c.leaveEraLocked() // nothing but loads is left of it
		}
	}
	return nil
}

// close closes stores at one instant: an eviction of all that they hold, after
// which nothing is remembered or loaded any more.
func (g *Group) close(stores []*store) {
	var closing []*store
	var ended []*load
	evicted := g.forget(CauseClosed, stores, func(s *store, ev *eviction) {
		if s.closed.Load() {
			return
		}
		s.closed.Store(true)
		closing = append(closing, s)
		s.running.add() // for the end of the subscription: whoever finds the store closed can wait for it
		s.markAllLocked(ev)
		ended = append(ended, s.stopLoadsLocked()...)
	})
	for _, s := range closing {
		// Its source's code, for which nobody waits. It comes last: changes must
		// arrive until nothing is served any more.
		go func() {
			defer s.running.done()
			s.cancel()
		}()
	}
	finishAll(ended)
	if len(closing) > 0 {
		g.tellEviction(context.Background(), CauseClosed, stores, nil, evicted)
	}
}

// stopLoadsLocked settles all loads of the store: first those that wait, so that
// none of them is given what the others give back.
func (s *store) stopLoadsLocked() (ended []*load) {
	for _, l := range s.group.deadlines.loads {
		if l.store == s {
			ended = append(ended, l)
		}
	}
	slices.SortStableFunc(ended, func(a, b *load) int { return b.waitsFirst() - a.waitsFirst() })
	for _, l := range ended {
		err := s.noAnswer(l.token.id, ReasonClosed, nil)
		l.stopLocked(&outcome{reason: err.Reason, err: err})
	}
	if len(s.group.deadlines.loads) == 0 {
		s.group.deadlines.stopLocked()
	}
	return ended
}

// waitsFirst is 1 for a load that waits for a turn, 0 for others.
func (l *load) waitsFirst() int {
	if l.phase == queued || l.phase == turning {
		return 1
	}
	return 0
}
