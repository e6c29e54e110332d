package evict

import (
	"context"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// An Evictor forgets tokens. A host names this type, so that it can begin with one
// process, a [*Local], and become a fleet, whose Node is an Evictor too.
//
// When a call returns without an error, no authentication that starts afterwards
// gets an answer from before it, on any node that the Evictor reaches. An account or
// a token that nobody knows is no error.
//
// It is safe for concurrent use by multiple goroutines.
type Evictor interface {
	// Evict parses the names, see [Parse], and forgets those tokens of the account.
	// The error is a [*SelectorError], and then nothing was evicted, or an error of
	// EvictSelector.
	Evict(ctx context.Context, namespace, service, names string) (Report, error)

	// EvictSelector is Evict for a selector that has been parsed. It evicts in this
	// process first, whether or not the context is done. If it reaches other nodes, it
	// returns soon after its context is done, and goes on to tell them. Beside an error,
	// the report says which nodes were told; those with an Err have not confirmed the
	// eviction.
	EvictSelector(ctx context.Context, sel tokencache.Selector) (Report, error)
}

var _ Evictor = (*Local)(nil)

// A Local is the [Evictor] of one process: it evicts from every cache of a group at
// one instant. [New] makes one.
//
// It is safe for concurrent use by multiple goroutines, and starts none.
type Local struct{ group *tokencache.Group }

// New returns an evictor for the group. It includes caches that are added to the group
// later.
func New(group *tokencache.Group) *Local { return &Local{group} }

// Evict parses the names, see [Parse], and forgets those tokens of the account in
// every cache, all at one instant. When it returns, no authentication that starts
// afterwards gets an answer from before. The error is a [*SelectorError], and then
// nothing was evicted.
//
// It takes microseconds and waits for nothing, so it does not ask whether the
// context is done: a revocation must not depend on the patience of its caller. The
// context carries values to GroupConfig.Observer.
func (l *Local) Evict(ctx context.Context, namespace, service, names string) (Report, error) {
	sel, err := Parse(namespace, service, names)
	if err != nil {
		return Report{}, err
	}
	return l.EvictSelector(ctx, sel)
}

// EvictSelector is Evict for a selector that has been parsed. Its error is always
// nil.
func (l *Local) EvictSelector(ctx context.Context, sel tokencache.Selector) (Report, error) {
	start := time.Now()
	evicted := l.group.Evict(ctx, sel)
	return Report{Selector: sel, Evicted: evicted, Duration: time.Since(start)}, nil
}

// A Report says what an eviction did.
type Report struct {
	Selector tokencache.Selector
	Evicted  map[string]int // how many live entries went from each cache of this process, by its name
	Duration time.Duration  // how long it took, other nodes included
	Nodes    []Node         // the other nodes that were told, if there are any

	// Others says in words which nodes will evict too that are not among Nodes, and when,
	// if the [Evictor] reaches some that it can neither count nor wait for. Empty: it
	// reaches no such nodes.
	Others string
}

// Total returns how many live entries went, over all caches of this process.
func (r Report) Total() int {
	total := 0
	for _, n := range r.Evicted {
		total += n
	}
	return total
}

// A Node is another process that was told of an eviction.
type Node struct {
	ID, Name string

	// Evicted is how many live entries went from each of its caches, if it said so.
	Evicted map[string]int

	// NotServingSince is, for a node that has not answered, the latest time at
	// which it lost the right to answer from before the eviction. Zero: it has
	// evicted, or Err is set.
	NotServingSince time.Time

	Err error // why it may not have evicted, or nil: it answers nothing from before

	// UnconfirmedUntil is, with Err, when it will have lost that right. Zero: it is
	// not known.
	UnconfirmedUntil time.Time
}
