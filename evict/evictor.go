package evict

import (
	"context"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// An Evictor evicts from every cache of a group at one instant. [New] makes one.
//
// It is safe for concurrent use by multiple goroutines, and starts none.
type Evictor struct{ group *tokencache.Group }

// New returns an evictor for the group. Caches that are added to the group later
// are included.
func New(group *tokencache.Group) *Evictor { return &Evictor{group} }

// Evict parses the names, see [Parse], and forgets those tokens of the account in
// every cache, all at one instant. When it returns, no authentication that starts
// afterwards gets an answer from before. The error is a [*SelectorError], and then
// nothing was evicted.
//
// It takes microseconds and waits for nothing, so it does not ask whether the
// context is done: a revocation must not depend on the patience of its caller. The
// context carries values to what may be told of the eviction.
func (e *Evictor) Evict(ctx context.Context, namespace, service, names string) (Report, error) {
	sel, err := Parse(namespace, service, names)
	if err != nil {
		return Report{}, err
	}
	return e.Apply(ctx, sel)
}

// Apply is Evict for a selector that has been parsed. Its error is always nil; the
// result has one so that an Evictor can be replaced by one which reaches other
// nodes too.
func (e *Evictor) Apply(ctx context.Context, sel tokencache.Selector) (Report, error) {
	start := time.Now()
	evicted := e.group.Evict(ctx, tokencache.CauseAsked, sel)
	return Report{Selector: sel, Evicted: evicted, Took: time.Since(start)}, nil
}

// A Report says what an eviction did.
type Report struct {
	Selector tokencache.Selector
	Evicted  map[string]int // how many live entries went from each cache of this process, by its name
	Took     time.Duration
	Nodes    []Node // the other nodes that were told, where there are any
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

	// Evicted is how many live entries went from each of its caches, where it said.
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
