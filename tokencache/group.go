package tokencache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// A Group is the caches that are forgotten together: an eviction happens in all
// of them at one instant. It also answers for all of them, in the order in which
// [New] added them; see [Group.Authenticate].
//
// A Group is safe for concurrent use by multiple goroutines. It starts no
// goroutine of its own; while a cache holds entries, a timer fires once a second.
//
// # Why an eviction is one instant
//
// Promise. Once an eviction has returned, no authentication that starts
// afterwards gets a verdict which derives from a source read that began before
// the eviction was called. If anybody has seen an eviction's effect in one
// cache, nobody sees the state before it in another.
//
// Everything that changes a group happens under one mutex, mu: to register a
// load, to publish its result, to displace an entry, to evict. It is never held
// during a source read, a password hash, a wait, or a call into foreign code.
// What remains to be shown is that hits, which take no lock, fit in between.
//
//   - INVARIANT 1 (loads). A load is registered under mu before it reads the
//     source, and its result is published under mu only if it is registered
//     still. An eviction removes the loads that it selects from the register,
//     under mu, whether or not anything is cached for them.
//   - INVARIANT 2 (joins). A caller joins only a registered load, under mu.
//   - INVARIANT 3 (marks). An entry can be found only between its publication and
//     its unlinking. An eviction marks every selected entry of every cache with
//     its own tombstone, which stands; then it fells the tombstone; then it
//     unlinks the entries; all under mu, so that no entry carries two.
//   - INVARIANT 4 (hits). The last thing a hit does is to load the entry's mark,
//     and the tombstone behind it. No tombstone, or one that stands: the entry
//     is good. A fallen one: the hit is a miss.
//
// The instant of an eviction is the store which fells its tombstone: one store
// to one word, whatever the number of names and caches. By 3, a hit that loads
// the mark after the instant sees the fallen tombstone, for each selected entry
// of each cache; by 4, every hit that returns the old verdict loaded it before.
// A verdict that did not come from an entry came from a load. By 1 and 2, one
// that began before the eviction took mu is neither published nor joined once
// the eviction has released it. That is freshness, and with the single store it
// is atomicity: order the operations by their instants (a hit: its last load; an
// eviction: the felling; a load: the source's own instant) and the order
// explains every result. internal/lincheck checks the same, in the same words, with
// random histories; schedule_test.go walks through the windows one by one.
//
// A hit may fail to find an entry that is there, while the table grows. That is
// harmless: it goes on to look again under mu, before anything is loaded.
//
// Rejected: a generation for each account, taken before the read and compared
// before the publication. It needs a rule for how long to remember generations,
// which is where real caches went wrong, and it makes a list of names in two
// caches more than one word. A sequence lock for each account: its readers have
// to wait for an eviction, and it does not cover two accounts, or a whole cache,
// at one instant. A map that is replaced as a whole: its cost grows with the
// account.
type Group struct {
	// What hits read, on cache lines that no miss and no eviction writes.
	known   func(Account) bool
	stores  atomic.Pointer[[]*store] // in the order of New; replaced, never changed, under mu
	clock   clock
	seed    maphash.Seed        // seed and key are random for each group, so that neither
	key     [16]byte            // digests nor buckets can be computed outside the process
	hashing *semaphore.Weighted // nil: unbounded

	_ [cacheLine]byte

	mu      sync.Mutex  // guards ticking, and every store's fields that say so; see above
	ticking *time.Timer // nil: the clock takes no notes
}

// cacheLine is how far apart to keep what hits read from what others write: a write
// takes the whole line away from all other cores (BenchmarkBesideMisses in
// internal/peers).
const cacheLine = 64

// GroupConfig holds the options of a [Group]. The zero value is the recommended
// production setting.
type GroupConfig struct {
	// MaxHashing is how many password hashes may be computed at once, over all
	// caches of the group, so that a flood of unknown tokens cannot take every
	// core for longer than its turn. Zero: GOMAXPROCS. Negative: no bound.
	MaxHashing int

	// KnownAccount reports whether the host knows the account; a token of any
	// other is refused before a cache or a source is asked. It is called for each
	// authentication, hits too, from many goroutines, and must be quick. Nil:
	// every account is known.
	KnownAccount func(Account) bool
}

// NewGroup returns a group without caches; [New] adds them.
func NewGroup(cfg GroupConfig) *Group {
	g := &Group{known: cfg.KnownAccount, seed: maphash.MakeSeed(), clock: clock{epoch: time.Now()}}
	g.clock.noted.Store(never)
	rand.Read(g.key[:]) // documented never to fail
	if cfg.MaxHashing == 0 {
		cfg.MaxHashing = runtime.GOMAXPROCS(0)
	}
	if cfg.MaxHashing > 0 {
		g.hashing = semaphore.NewWeighted(int64(cfg.MaxHashing))
	}
	g.stores.Store(new([]*store))
	return g
}

// Evict forgets the selected tokens in every cache of the group, at one instant.
// When it returns, no authentication that starts afterwards gets an answer which
// a source gave before Evict was called; loads in flight for the selected tokens
// still answer those who wait for them, but are neither stored nor joined.
//
// It returns how many live entries went from each cache, by the cache's name. An
// account or a token that nobody knows is no error: nothing goes. It waits for
// no source and costs time in proportion to what goes, not to what the caches
// hold.
func (g *Group) Evict(_ context.Context, _ Cause, sels ...Selector) map[string]int {
	return g.forget(nil, func(s *store, t *tombstone) { s.condemnLocked(t, sels) })
}

// Clear forgets everything in every cache of the group, at one instant, with the
// same guarantees as [Group.Evict]. It returns how many live entries went from
// each cache, by the cache's name.
func (g *Group) Clear(context.Context, Cause) map[string]int {
	return g.forget(nil, (*store).condemnAllLocked)
}

// Close closes every cache of the group; see [Cache.Close].
func (g *Group) Close() {
	for _, s := range *g.stores.Load() {
		s.close()
	}
}

// forget is the one eviction, in one store or, where only is nil, in all of the
// group. condemn marks what it selects in a store, and takes the loads that it
// selects off the register. The result is how many live entries went from each.
func (g *Group) forget(only *store, condemn func(*store, *tombstone)) map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	stores := *g.stores.Load()
	if only != nil {
		stores = []*store{only}
	}
	t := &tombstone{carved: g.clock.now()}
	for _, s := range stores {
		condemn(s, t)
	}
	t.fallen.Store(true) // the instant
	counts := make(map[string]int, len(stores))
	for _, s := range stores {
		counts[s.name] = s.buryLocked()
	}
	g.stopClockLocked()
	return counts
}

const maxCaches = 64 // what fits in the words of fromMemory

// add makes s a part of the group.
func (g *Group) add(s *store) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := *g.stores.Load()
	if len(old) == maxCaches {
		return fmt.Errorf("tokencache: the group has %d caches, and can hold no more", maxCaches)
	}
	if slices.ContainsFunc(old, func(o *store) bool { return o.name == s.name }) {
		return fmt.Errorf("tokencache: the group has a cache of the name %q already", s.name)
	}
	g.stores.Store(new(append(slices.Clip(old), s)))
	return nil
}

// ErrClosed is wrapped by the error for an authentication that needs a cache
// which has been closed.
var ErrClosed = errors.New("tokencache: the cache is closed")
