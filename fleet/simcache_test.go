package fleet_test

import (
	"context"
	"sync"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// A simCaches replaces a group of two caches, "file" and "index". It is slow and simple,
// and its clock may be wrong.
type simCaches struct {
	w    *world
	slot *slot

	mu      sync.Mutex // guards the fields below
	until   time.Time
	entries map[cacheKey]verdict
	loads   map[cacheKey]*simLoad
}

var _ fleet.Caches = (*simCaches)(nil)

type cacheKey struct{ source, key string }

type verdict struct {
	read    int64
	version int
}

type simLoad struct {
	registered bool
	done       chan struct{}
	verdict    verdict
	err        error
}

func newSimCaches(w *world, s *slot) *simCaches {
	return &simCaches{w: w, slot: s, entries: make(map[cacheKey]verdict), loads: make(map[cacheKey]*simLoad)}
}

func (c *simCaches) Lease(until time.Time) {
	c.slot.gate(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = until
}

func (c *simCaches) Evict(_ context.Context, _ tokencache.Cause, sels ...tokencache.Selector) map[string]int {
	c.slot.gate(context.Background())
	n := c.forget("", func(key string) bool {
		for _, sel := range sels {
			if sel.Selects(account.TokenID(key)) {
				return true
			}
		}
		return false
	})
	return map[string]int{"all": n}
}

func (c *simCaches) Clear(context.Context, tokencache.Cause) map[string]int {
	c.slot.gate(context.Background())
	return map[string]int{"all": c.forget("", func(string) bool { return true })}
}

func (c *simCaches) forget(source string, selects func(key string) bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for k := range c.entries {
		if (source == "" || k.source == source) && selects(k.key) {
			delete(c.entries, k)
			n++
		}
	}
	for k, load := range c.loads {
		if (source == "" || k.source == source) && selects(k.key) {
			load.registered = false
			delete(c.loads, k)
		}
	}
	return n
}

// An indexCache is the "index" cache as its source sees it.
type indexCache struct{ *simCaches }

func (c indexCache) Evict(_ context.Context, _ tokencache.Cause, sels ...tokencache.Selector) int {
	return c.forget("index", func(key string) bool { return sels[0].Selects(account.TokenID(key)) })
}

func (c indexCache) Clear(context.Context, tokencache.Cause) int {
	return c.forget("index", func(string) bool { return true })
}

// authenticate answers as a cache does: from memory, from a load that runs, or by a load
// of its own, and never past the lease.
func (c *simCaches) authenticate(ctx context.Context, k cacheKey, read func(context.Context) (verdict, error)) (v verdict, hit bool, err error) {
	c.mu.Lock()
	valid := c.slot.clock.Now().Before(c.until)
	if v, ok := c.entries[k]; ok && valid {
		c.mu.Unlock()
		return v, true, nil
	}
	if !valid { // a miss, too, and before it joins a load
		c.mu.Unlock()
		return verdict{}, false, fleet.ErrNotServing
	}
	load := c.loads[k]
	if load == nil {
		load = &simLoad{registered: true, done: make(chan struct{})}
		c.loads[k] = load
		c.w.running.Go(func() { c.load(k, load, read) })
	}
	c.mu.Unlock()
	select {
	case <-load.done:
		return load.verdict, false, load.err
	case <-ctx.Done():
		return verdict{}, false, ctx.Err()
	}
}

func (c *simCaches) load(k cacheKey, load *simLoad, read func(context.Context) (verdict, error)) {
	ctx, cancel := context.WithTimeout(c.w.ctx, 10*time.Second)
	defer cancel()
	v, err := read(ctx)
	c.slot.gate(context.Background())
	c.mu.Lock()
	defer c.mu.Unlock()
	load.verdict, load.err = v, err
	if load.registered {
		delete(c.loads, k)
		if err == nil {
			c.entries[k] = v
		}
	}
	close(load.done)
}

// readFile reads a source that is the same for all nodes, and that reports no changes. It
// takes a while.
func (c *simCaches) readFile(key string) func(context.Context) (verdict, error) {
	return func(ctx context.Context) (verdict, error) {
		v := verdict{read: c.w.tick()}
		c.slot.sleep(ctx, c.slot.delay())
		return v, nil
	}
}

func (c *simCaches) readIndex(source *indexsource.Source, key string) func(context.Context) (verdict, error) {
	return func(ctx context.Context) (verdict, error) {
		v := verdict{read: c.w.tick()}
		a, err := source.Lookup(ctx, account.TokenID(key))
		if err == nil && a.Held {
			v.version = parseVersion(a.Record.Creator)
		}
		return v, err
	}
}
