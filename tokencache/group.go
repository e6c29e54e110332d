package tokencache

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/tokencache/internal/fair"
)

// A Group is the caches that are forgotten together: an eviction happens in all
// of them at one instant. It also answers for all of them, in the order in which
// [New] added them; see [Group.Authenticate]. What an eviction is, and why it is
// one instant, stands in evict.go.
//
// A Group is safe for concurrent use by multiple goroutines. It starts no
// goroutine of its own but for a moment each second while a cache holds entries;
// the goroutines that run are the loads that read or hash.
type Group struct {
	// What hits read, on lines of the processor's cache that no miss and no
	// eviction writes.
	known   func(Account) bool
	stores  atomic.Pointer[[]*store] // in the order of New; replaced, never changed, under mu
	table   atomic.Pointer[table]    // replaced as it grows, under mu
	lengths lengths
	clock   clock
	lease   atomic.Int64  // clock reading: when the lease lapses; 0: there is none
	changes atomic.Uint64 // of the sources, written under mu: see Group.Authenticate
	seed    maphash.Seed  // seed and key are random for each group, so that neither
	key     [keyLen]byte  // digests nor buckets can be computed outside the process

	maxSecret int // bytes
	maxBearer int // characters
	maxWait   time.Duration
	maxQueue  int
	observer  func(context.Context, Event)

	_ [cacheLine]byte

	outcomes outcomeCounter
	telling  tally // the observer, of displacements

	mu        sync.Mutex  // guards the fields below, and every store's that say so; see evict.go
	sealed    bool        // no cache is added any more
	ticking   *time.Timer // nil: the clock takes no notes
	linked    int         // entries in the table
	growing   bool        // an array is being made for the table
	swept     int         // the last bucket that the sweep looked at
	deadlines deadlines
	hashing   *queue
	hints     hints
}

// cacheLine is how far apart to keep what hits read from what others write: a write
// takes the whole line away from all other cores (BenchmarkBesideMisses in
// internal/harness/peers).
const cacheLine = 64

// GroupConfig holds the options of a [Group]. The zero value is the recommended
// production setting.
type GroupConfig struct {
	// MaxHashing is how many password hashes may be computed at once, over all
	// caches of the group. The accounts take turns; within an account its token
	// names do, and hashes for one name are computed in the order in which they
	// came. Secrets that were good a short while ago come first. As many more may be
	// computed for accounts that compute none, and at most 7 more that take less
	// than half as long as each of those, so that a cheap hash need not wait for the
	// dear ones of others. Zero: GOMAXPROCS. Negative: no bound.
	MaxHashing int

	// MaxWait is how long a load may wait for its turn to read, or to compute a
	// hash. It then ends with [ErrOverloaded]. The load's own deadline,
	// Config.LoadTimeout, does not run meanwhile. Zero: 10 seconds. Negative: as
	// long as somebody waits for the load.
	MaxWait time.Duration

	// MaxQueue is how many loads may wait for a turn to compute a hash, and in each
	// cache for a turn to read. One account may take an eighth of the places.
	// What finds none ends with [ErrOverloaded] at once. Zero: 16384. Negative: no
	// bound.
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
	// hits. It is called after the event, in the goroutine where that happened, by
	// many goroutines at once and under no lock. It should be quick: the goroutine
	// is a caller's, or one beyond those that are bounded. It must not call Wait,
	// which may wait for it. The context carries the values of the caller's. For two
	// observers, pass a function that calls both. Nil: nobody is told, which costs
	// nothing.
	Observer func(context.Context, Event)
}

const (
	defaultMaxWait   = 10 * time.Second
	defaultMaxQueue  = 1 << 14
	defaultMaxSecret = 1024
)

// NewGroup returns a group without caches; [New] adds them.
func NewGroup(cfg GroupConfig) *Group {
	g := &Group{
		known: cfg.KnownAccount, observer: cfg.Observer,
		seed: maphash.MakeSeed(), clock: clock{epoch: time.Now()},
		maxWait: orDefault(cfg.MaxWait, defaultMaxWait, math.MaxInt64),
		hints:   newHints(),
	}
	rand.Read(g.key[:]) // documented never to fail
	g.stores.Store(new([]*store))
	g.table.Store(newTable(minBuckets))
	g.lengths.publishLocked()
	g.maxBearer = math.MaxInt
	g.maxSecret = orDefault(cfg.MaxSecret, defaultMaxSecret, math.MaxInt)
	if g.maxSecret < math.MaxInt/16 {
		g.maxBearer = base64.StdEncoding.EncodedLen(len(bearerPrefix) + maxQualified + len(":") + g.maxSecret)
	}
	hashing := orDefault(cfg.MaxHashing, runtime.GOMAXPROCS(0), math.MaxInt)
	g.maxQueue = orDefault(cfg.MaxQueue, defaultMaxQueue, math.MaxInt)
	limits := fair.Limits[Account]{Turns: hashing, PerAccount: hashing, Places: g.maxQueue, PlacesPerAccount: shareOf(g.maxQueue)}
	if hashing < math.MaxInt {
		limits.Extra, limits.ByCost = hashing, true
	}
	g.hashing = fair.New[Account, *load](limits)
	g.deadlines.group = g
	return g
}

// A queue is the loads that wait for turns; see package fair.
type queue = fair.Queue[Account, *load]

// accountShare is which part of the loads, of the places to wait and of the stray
// loads one account may have: an eighth, so that seven can attack at once before
// the others are held up. What is too small to be shared, or has no bound, is not.
const accountShare = 8

func shareOf(all int) int {
	if all < accountShare || all == math.MaxInt {
		return all
	}
	return all / accountShare
}

// orDefault returns an option's value: zero stands for the default, negative for
// none.
func orDefault[T int | time.Duration](value, byDefault, none T) T {
	switch {
	case value == 0:
		return byDefault
	case value < 0:
		return none
	default:
		return value
	}
}

// Lease has the group answer until this moment, by the process's own monotonic
// clock, and from then on fail every authentication with [ReasonLapsed], hits and
// misses alike: for a node that cannot tell whether it has missed an eviction. A
// later call extends or ends the lease, at once. The zero Time: no lease is
// needed, which is how a group begins.
//
// What is remembered stays. Whoever lets a lease lapse must clear the group before
// the next one.
func (g *Group) Lease(until time.Time) {
	if until.IsZero() {
		g.lease.Store(0)
		return
	}
	at := int64(until.Sub(g.clock.epoch))
	if at == 0 {
		at = -1 // over as well, and not the absence of a lease
	}
	g.lease.Store(at)
}

// lapsed reports whether a lease is needed and there is none. It reads the real
// clock: a time noted before a pause of the process would be too early.
func (g *Group) lapsed() bool {
	until := g.lease.Load()
	return until != 0 && g.clock.now() >= until
}

// Caches returns the names and counters of the group's caches, in the order in
// which New added them. Each cache's counters are read when its turn comes.
func (g *Group) Caches() iter.Seq2[string, Stats] {
	return func(yield func(string, Stats) bool) {
		for _, s := range *g.stores.Load() {
			if !yield(s.name, s.snapshot()) {
				return
			}
		}
	}
}

// Close closes every cache of the group, at one instant; see [Cache.Close]. From
// then on every authentication ends with [ErrClosed].
func (g *Group) Close() {
	g.seal()
	g.close(*g.stores.Load())
}

// seal has the group get no further cache.
func (g *Group) seal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sealed = true
}

// closedLocked reports whether the group is closed. It is not before the instant at
// which its caches are: until then hits are confirmed.
func (g *Group) closedLocked() bool {
	return g.sealed && !slices.ContainsFunc(*g.stores.Load(), func(s *store) bool { return !s.closed.Load() })
}

// Wait waits until nothing runs any more that the group's caches have started, or
// until the context is done, whose error it returns. It is for after Close.
func (g *Group) Wait(ctx context.Context) error {
	for _, s := range *g.stores.Load() {
		if err := s.running.wait(ctx); err != nil {
			return err
		}
	}
	return g.telling.wait(ctx)
}

// add makes s a part of the group.
func (g *Group) add(s *store) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := *g.stores.Load()
	switch {
	case g.sealed:
		return fmt.Errorf("%w: the group, before it got the cache %q", ErrClosed, s.name)
	case slices.ContainsFunc(old, func(o *store) bool { return o.name == s.name }):
		return fmt.Errorf("tokencache: the group has a cache of the name %q already", s.name)
	}
	s.index = len(old)
	g.stores.Store(new(append(slices.Clip(old), s)))
	return nil
}

var errNoCaches = errors.New("the group has no caches")

// Format writes how many caches the group has for every verb, and nothing of the
// contents: a group holds the key of its digests.
func (g *Group) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "tokencache.Group of %d caches", len(*g.stores.Load()))
}
