package tokencache

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// A loadContext is the context that a source gets. It has the values of the caller that
// started the load, but neither its deadline nor its end: others may wait longer. It
// ends when the load is settled, or reading takes too long.
//
// Behind it is one of the standard library's, so that a context which a source
// derives costs no goroutine. It is made when the source first needs it: for a source
// that looks at no context it would double the allocations of a miss.
type loadContext struct {
	load     *load
	caller   context.Context
	deadline time.Time                   // immutable from when reading begins
	made     atomic.Pointer[madeContext] // nil: not made yet; written under the memory's mutex
}

type madeContext struct {
	context.Context
	cancel context.CancelFunc
}

// callersFirst is how long after its deadline a load's context ends: until then the
// load is settled and its callers know why, whatever the source does when the context
// ends.
const callersFirst = time.Millisecond

// standard returns the standard library's context.
func (c *loadContext) standard() context.Context {
	if made := c.made.Load(); made != nil {
		return made.Context
	}
	mu := &c.load.store.shelf.memory.mu
	mu.Lock()
	defer mu.Unlock()
	if made := c.made.Load(); made != nil {
		return made.Context // another goroutine of the source's was first
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(c.caller), c.deadline.Add(callersFirst))
	c.made.Store(&madeContext{ctx, cancel})
	if c.load.phase == settled {
		c.endLocked()
	}
	return ctx
}

// endLocked ends the context of a load that is settled. If that is because of the
// deadline, the context ends by itself, with the error for it.
func (c *loadContext) endLocked() {
	if c.load.out.reason != ReasonSourceTimeout {
		c.cancelLocked()
	}
}

// cancelLocked ends the context. It calls no foreign code: what AfterFunc was given runs
// in goroutines of its own.
func (c *loadContext) cancelLocked() {
	if made := c.made.Load(); made != nil {
		made.cancel()
	}
}

// Deadline returns when the load's reading is overdue.
func (c *loadContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done returns the channel that is closed when the context ends.
func (c *loadContext) Done() <-chan struct{} { return c.standard().Done() }

// Err returns nil until then.
func (c *loadContext) Err() error { return c.standard().Err() }

// Value returns the caller's value.
func (c *loadContext) Value(key any) any { return c.standard().Value(key) }

// Format says what this is, for every verb: a load holds a secret.
func (c *loadContext) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "a load of the cache %q", c.load.store.shelf.name)
}
