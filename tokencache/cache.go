package tokencache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"
)

// A Cache remembers what one source said. R is the source's record.
//
// It remembers successes alone: a refusal and an error are asked for again each
// time. A remembered success answers for its token name: another secret for that
// name is refused from memory, until the token is evicted or expires.
//
// A Cache is safe for concurrent use by multiple goroutines. It runs a goroutine
// for each load in flight, at most Config.MaxLoads, and no other; [Cache.Close]
// ends them.
type Cache[R any] struct{ store *store }

var _ Invalidator = (*Cache[any])(nil)

// Config holds the options of a [Cache]. The zero value is the recommended
// production setting.
type Config struct {
	// TTL is how long a success is remembered, counted from the start of its
	// load; reads do not extend it. Zero: 20 minutes. Negative: nothing is
	// remembered, though concurrent callers of one token still share a load.
	TTL time.Duration

	// Jitter is how much of the TTL chance may take away, so that tokens which
	// were loaded together are not all loaded again together. At most TTL. Zero:
	// a tenth of TTL. Negative: none.
	Jitter time.Duration

	// MaxEntries is how many successes are remembered. When there are more, the
	// least recently used makes room (a close approximation: an entry used since
	// the policy last looked at it gets a second chance). Zero: 100 000. Negative
	// is an error: what remembers nothing has a negative TTL.
	MaxEntries int

	// LoadTimeout is how long one load may take, hashing included. Zero: 10
	// seconds. Negative is an error: a load without a deadline would hold its
	// token for ever.
	LoadTimeout time.Duration

	// MaxLoads is how many loads may run at once; callers beyond it wait for
	// their turn as long as their contexts let them. Zero: 1024. Negative is an
	// error.
	MaxLoads int
}

const (
	defaultTTL         = 20 * time.Minute
	defaultMaxEntries  = 100_000
	defaultLoadTimeout = 10 * time.Second
	defaultMaxLoads    = 1024
)

// withDefaults returns cfg with its zero values replaced, and an error for each
// field that breaks its rule.
func (cfg Config) withDefaults() (Config, error) {
	var errs []error
	reject := func(field string, value any, rule string) {
		errs = append(errs, fmt.Errorf("tokencache: Config.%s is %v: %s", field, value, rule))
	}
	if cfg.MaxEntries < 0 {
		reject("MaxEntries", cfg.MaxEntries, "must not be negative; a negative TTL switches the cache off")
	}
	if cfg.LoadTimeout < 0 {
		reject("LoadTimeout", cfg.LoadTimeout, "must not be negative; a load without a deadline would hold its token for ever")
	}
	if cfg.MaxLoads < 0 {
		reject("MaxLoads", cfg.MaxLoads, "must not be negative")
	}
	cfg.TTL = cmp.Or(cfg.TTL, defaultTTL)
	if cfg.TTL > 0 && cfg.Jitter > cfg.TTL {
		reject("Jitter", cfg.Jitter, fmt.Sprintf("must not be above TTL, which is %v", cfg.TTL))
	}
	cfg.Jitter = cmp.Or(cfg.Jitter, cfg.TTL/10)
	cfg.MaxEntries = cmp.Or(cfg.MaxEntries, defaultMaxEntries)
	cfg.LoadTimeout = cmp.Or(cfg.LoadTimeout, defaultLoadTimeout)
	cfg.MaxLoads = cmp.Or(cfg.MaxLoads, defaultMaxLoads)
	return cfg, errors.Join(errs...)
}

// New returns a cache for src, as the last of the group, and subscribes it to the
// source's changes. The name is what stats, reports and verdicts call it, for
// example "file"; it must not be empty, and be unique in the group. A group holds up to 64 caches.
//
// The error says which argument breaks which rule.
func New[R any](g *Group, name string, src Source[R], cfg Config) (*Cache[R], error) {
	cfg, err := cfg.withDefaults()
	switch {
	case err != nil:
		return nil, err
	case name == "":
		return nil, errors.New("tokencache: the cache's name is empty")
	case src == nil:
		return nil, fmt.Errorf("tokencache: the source of the cache %q is nil", name)
	}
	s := &store{
		group: g, name: name,
		lookup: func(ctx context.Context, id TokenID) (Answer[any], error) {
			a, err := src.Lookup(ctx, id)
			if !a.Held || err != nil {
				return Answer[any]{}, err
			}
			return Answer[any]{true, a.Disabled, a.Record, a.Expires, a.Verify, a.Ask}, nil
		},
		ttl: cfg.TTL, jitter: cfg.Jitter,
		loadTimeout: cfg.LoadTimeout,
		maxEntries:  cfg.MaxEntries,
		errTimeout:  fmt.Errorf("the source took longer than %v: %w", cfg.LoadTimeout, context.DeadlineExceeded),
		slots:       semaphore.NewWeighted(int64(cfg.MaxLoads)),
	}
	if h, ok := src.(Holder); ok {
		s.mayHold = h.MayHold
	}
	s.resetLocked()
	// The subscription comes before the first load, and an entry can only come
	// from a load: no change is lost in between.
	c := &Cache[R]{store: s}
	s.cancel = src.Subscribe(c)
	if err := g.add(s); err != nil {
		s.cancel()
		return nil, err
	}
	return c, nil
}

// Name returns the name that New was given.
func (c *Cache[R]) Name() string { return c.store.name }

// Evict forgets the selected tokens in this cache alone, at one instant, with the
// guarantees of [Group.Evict]. It returns how many live entries went.
func (c *Cache[R]) Evict(_ context.Context, _ Cause, sels ...Selector) int {
	return c.store.group.forget(c.store, func(s *store, t *tombstone) {
		s.condemnLocked(t, sels)
	})[c.store.name]
}

// Clear forgets everything in this cache alone, at one instant, with the
// guarantees of [Group.Evict]. It returns how many live entries went.
func (c *Cache[R]) Clear(context.Context, Cause) int {
	return c.store.group.forget(c.store, (*store).condemnAllLocked)[c.store.name]
}

// Stats returns the cache's counters. It waits for no source.
func (c *Cache[R]) Stats() Stats { return c.store.snapshot() }

// Close ends the subscription, forgets everything, ends the loads in flight by
// their contexts, and waits until their goroutines are gone: a source that
// ignores its context delays it. Authentications that need this cache fail with
// [ErrClosed] from then on. Closing again waits likewise and does nothing else.
func (c *Cache[R]) Close() { c.store.close() }
