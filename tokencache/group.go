package tokencache

import (
	"context"
	"fmt"
	"iter"
	"math"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/tokencache/internal/fair"
)

// A Group is the caches that are forgotten together: an eviction happens in all
// of them at one instant. It also answers for all of them, in the order in which
// [New] added them; see [Group.Authenticate]. The file evict.go explains what an
// eviction is, and why it is one instant.
//
// [NewGroup] makes a Group; the zero Group has no caches, and answers nothing. A Group
// is safe for concurrent use by multiple goroutines. It starts no goroutine of its own,
// except for a moment each second while a cache holds entries; the goroutines that run
// are the loads that read or hash.
type Group struct {
	// The fields that hits read come first, on lines of the processor's cache that no
	// miss and no eviction writes.
	memory memory
	stores atomic.Pointer[[]*store] // in the order of New; replaced, never changed, under memory.mu
	lease  lease
	known  func(Account) bool
	limits limits

	work      work
	outcomes  outcomeCounter
	notifying tally  // the observer, of displacements
	sealed    bool   // no more caches may be added; guarded by memory.mu
	claim     *Claim // nil: there is none; guarded by memory.mu
}

// A lease says until when a group may answer.
type lease struct{ until atomic.Int64 } // clock reading; 0: no lease is needed

// GroupConfig holds the options of a [Group]. The zero value is the recommended
// production setting.
type GroupConfig struct {
	// MaxHashing is how many password hashes may be computed at once, over all
	// caches of the group. The accounts take turns; within an account its token
	// names do, and hashes for one name are computed in the order in which they
	// came. Secrets that were good a short while ago, under the same name, come first.
	// Accounts with no hash running may take as many turns again. Up to 7 more hashes
	// may run if they are known to take less than half as long as every hash now
	// running, so that a cheap hash need not wait for the expensive ones of others.
	// Hashes that are cheap by their form, see Answer.Fast, take no turn. Zero:
	// half of GOMAXPROCS, and at least one, which leaves processors for hits while strangers
	// send wrong secrets. Negative: no bound.
	MaxHashing int

	// MaxWait is how long a load may wait for its turn to read, or to compute a
	// hash. It then ends with [ErrOverloaded]. The load's own deadline,
	// Config.LoadTimeout, does not run meanwhile. Zero: 10 seconds. Negative: as
	// long as somebody waits for the load.
	MaxWait time.Duration

	// MaxQueue is how many loads may wait for a turn to compute a hash, and in each
	// cache for a turn to read. If the queue is full, a newcomer takes the place of a
	// load of the account with the most waiting loads. A load that finds no place, or
	// loses it, fails at once with [ErrOverloaded]. Zero: 16384. Negative: no bound.
	MaxQueue int

	// MaxSecret is how many bytes a secret may have. A longer one is refused
	// before it is decoded. Zero: 1024. Negative: no bound.
	MaxSecret int

	// KnownAccount reports whether the host knows the account; a token of any
	// other is refused before a secret is hashed or a source is asked. It is called
	// for each authentication, hits too, from many goroutines, and must be quick.
	// Nil: every account is known.
	KnownAccount func(Account) bool

	// Observer is told of loads, evictions, displacements and overload; never of
	// hits. It is called after the event, in the goroutine in which that happened, by
	// many goroutines at once and under no lock. It should be quick: it runs on a
	// caller's goroutine, or on one that no limit counts. If it panics, the panic is
	// contained. It must not call Wait, which may wait for it. The context carries the
	// values of the caller's. For two observers, pass a function that calls both. Nil:
	// nobody is told, which costs nothing.
	Observer func(context.Context, Event)
}

const (
	defaultMaxWait  = 10 * time.Second
	defaultMaxQueue = 1 << 14
)

// NewGroup returns a group without caches; [New] adds them.
func NewGroup(cfg GroupConfig) *Group {
	g := &Group{known: cfg.KnownAccount, limits: newLimits(cfg.MaxSecret)}
	g.memory.start(g.tellDisplaced)
	g.stores.Store(new([]*store))
	w := &g.work
	*w = work{
		memory: &g.memory, deadlines: deadlines{clock: &g.memory.clock, overdue: w.overdue},
		maxWait:  orDefault(cfg.MaxWait, defaultMaxWait, math.MaxInt64),
		maxQueue: orDefault(cfg.MaxQueue, defaultMaxQueue, math.MaxInt),
		observer: cfg.Observer,
	}
	hashing := orDefault(cfg.MaxHashing, max(1, runtime.GOMAXPROCS(0)/2), math.MaxInt)
	turns := fair.Limits[Account]{Turns: hashing, PerAccount: hashing, Waiters: w.maxQueue}
	if hashing < math.MaxInt {
		turns.Extra, turns.ByCost = hashing, true
	}
	w.hashing = fair.New[Account, *load](turns)
	return g
}

// Caches returns the names and counters of the group's caches, in the order in
// which New added them. The counters of a cache are read when it is yielded.
func (g *Group) Caches() iter.Seq2[string, Stats] {
	return func(yield func(string, Stats) bool) {
		for _, s := range g.caches() {
			if !yield(s.shelf.name, s.snapshot()) {
				return
			}
		}
	}
}

// Close closes every cache of the group, at one instant; see [Cache.Close]. From
// then on every authentication ends with [ErrClosed].
func (g *Group) Close() {
	g.seal()
	g.close(g.caches())
}

// seal stops the group from taking caches.
func (g *Group) seal() {
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	g.sealed = true
}

// closedLocked reports whether the group is closed. It closes at the instant at which
// its caches do: until then hits are confirmed.
func (g *Group) closedLocked() bool {
	return g.sealed && !slices.ContainsFunc(g.caches(), func(s *store) bool { return !s.shelf.closed.Load() })
}

// Wait returns nil once everything that the group's caches have started has ended, or
// the context's error if that ends first. Call it after Close.
func (g *Group) Wait(ctx context.Context) error {
	for _, s := range g.caches() {
		if err := s.running.wait(ctx); err != nil {
			return err
		}
	}
	return g.notifying.wait(ctx)
}

// caches returns the group's stores, in the order of New. The zero Group has none.
func (g *Group) caches() []*store {
	if stores := g.stores.Load(); stores != nil {
		return *stores
	}
	return nil
}

// add makes s a part of the group.
func (g *Group) add(s *store) error {
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	old := g.caches()
	switch {
	case g.sealed:
		return fmt.Errorf("%w: the group, before it got the cache %q", ErrClosed, s.shelf.name)
	case slices.ContainsFunc(old, func(o *store) bool { return o.shelf.name == s.shelf.name }):
		return fmt.Errorf("tokencache: the group has a cache of the name %q already", s.shelf.name)
	}
	s.shelf.index = len(old)
	g.stores.Store(new(append(slices.Clip(old), s)))
	return nil
}

// tellDisplaced tells the observer how many entries were displaced since the last call.
func (g *Group) tellDisplaced() {
	var events []Event
	g.memory.mu.Lock()
	for _, s := range g.caches() {
		if s.shelf.displaced > 0 && g.work.observer != nil && !s.shelf.closed.Load() { // else Wait may have ended
			events = append(events, Event{Kind: EventDisplacement, Cache: s.shelf.name, Count: s.shelf.displaced})
		}
		s.shelf.displaced = 0
	}
	g.notifying.add()
	g.memory.mu.Unlock()
	defer g.notifying.done()
	for _, ev := range events {
		g.work.tell(context.Background(), ev)
	}
}

// Format writes how many caches the group has for every verb, and nothing of the
// contents: a group holds the key of its digests.
func (g *Group) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "tokencache.Group of %d caches", len(g.caches()))
}
