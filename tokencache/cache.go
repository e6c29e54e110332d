package tokencache

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"
)

// A Cache remembers what one source said. R is the source's record.
//
// It remembers successes: a success answers for its token name, and another secret
// for that name is refused from memory, until the token is evicted or expires. It
// remembers for a moment, by name, that the source does not hold a token, or that the
// token is disabled or has expired. It remembers no other refusal and no error.
//
// A Cache is safe for concurrent use by multiple goroutines. It runs a goroutine
// for each load that reads, at most Config.MaxLoads, for each hash that is computed,
// and for each stray, see Config.MaxLoads; [Cache.Close] ends them.
type Cache[R any] struct {
	group *Group
	store *store
}

var _ Invalidator = (*Cache[any])(nil)

// New returns a cache for src, as the last of the group, and subscribes it to the
// source's changes. The name is what stats, reports and verdicts call it, for
// example "file"; it must not be empty, and be unique in the group. If the source is a
// [Holder], its MayHold is used.
//
// A cache keeps its name in the group when it is closed. To replace a source, make
// another group, and close the old one when nothing uses it any more.
//
// The error says which argument breaks which rule, or wraps [ErrClosed] for a group
// that is closed.
func New[R any](g *Group, name string, src Source[R], cfg Config) (*Cache[R], error) {
	cfg, err := cfg.withDefaults()
	switch {
	case err != nil:
		return nil, err
	case name == "":
		return nil, errors.New("tokencache: the cache's name is empty")
	case g == nil || g.stores.Load() == nil:
		return nil, fmt.Errorf("tokencache: the group of the cache %q was not made by NewGroup", name)
	case src == nil:
		return nil, fmt.Errorf("tokencache: the source of the cache %q is nil", name)
	}
	s := newStore(&g.work, name, cfg)
	s.holder, _ = src.(Holder)
	s.lookup = func(ctx context.Context, id TokenID) (Answer[any], error) {
		a, err := src.Lookup(ctx, id)
		if !a.Held || err != nil {
			return Answer[any]{}, err
		}
		return Answer[any]{true, a.Disabled, a.Record, a.Expires, a.Verify, a.Fast, a.Previous, a.Ask}, nil
	}
	// The subscription comes before the first load, and an entry can only come
	// from a load: no change is lost in between.
	c := &Cache[R]{g, s}
	if s.cancel = src.Subscribe(c); s.cancel == nil {
		s.cancel = func() {} // as of a source that never changes
	}
	if err := g.add(s); err != nil {
		s.cancel()
		return nil, err
	}
	return c, nil
}

// Name returns the name that New was given.
func (c *Cache[R]) Name() string { return c.store.shelf.name }

// Stats returns the cache's counters. It waits for no source.
func (c *Cache[R]) Stats() Stats { return c.store.snapshot() }

// Remembers reports whether the cache remembers the token as confirmed, and since
// when and until when. Asking does not count as a use. Since is zero if it is
// not known, which is so if the token's own expiry ends the entry before its TTL.
func (c *Cache[R]) Remembers(id TokenID) (since, until time.Time, ok bool) {
	if id.Validate() != nil {
		return since, until, false
	}
	s, m := c.store.shelf, &c.group.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	for e := range s.ofLocked(m.keys.hashID(id), id) {
		if e.refuses() || e.good <= m.clock.now() {
			continue
		}
		until = m.clock.timeOf(e.good)
		if e.step != cutShort && e.good != never {
			since = until.Add(-s.lifetime(e.step))
		}
		return since, until, true
	}
	return since, until, false
}

// Used yields the tokens that were confirmed by this cache since Used was last called,
// and when each was last used, in no order. The time is coarse: up to 70 seconds before
// the last use. Tokens that have been displaced or evicted since, or have expired, are
// included, up to Config.MaxEntries of them, or 10 000 if that is more. The first call
// misses those: a cache keeps the uses of what goes only for a host that has asked, so
// call Used once at the start, as indexsource.KeepUses does. What a loop that ends early
// has not seen is kept for the next one. It is safe for concurrent use. It holds the
// group's mutex for at most a thousand entries at a time.
func (c *Cache[R]) Used() iter.Seq2[TokenID, time.Time] {
	return func(yield func(TokenID, time.Time) bool) {
		s, clock := c.store.shelf, &c.group.memory.clock
		uses := s.takeUses()
		for id, lap := range uses {
			delete(uses, id)
			if !yield(id, clock.timeOf(int64(lap-1)<<lapBits)) {
				s.giveBack(uses)
				return
			}
		}
	}
}

// Close ends the subscription, forgets everything and ends the loads by their
// contexts, at once. It does not wait for the source; [Cache.Wait] does.
// Authentications that need this cache fail with [ErrClosed] from then on. Closing
// again does nothing.
func (c *Cache[R]) Close() { c.group.close([]*store{c.store}) }

// Wait returns nil once everything that the cache has started has ended, or the
// context's error if that ends first. Call it after Close.
func (c *Cache[R]) Wait(ctx context.Context) error { return c.store.running.wait(ctx) }

// Format writes "tokencache.Cache" and the name for every verb, and nothing of the
// contents: a cache leads to the key of its digests.
func (c *Cache[R]) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "tokencache.Cache %q", c.Name()) }
