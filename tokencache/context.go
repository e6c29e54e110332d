package tokencache

import (
	"context"
	"fmt"
	"time"
)

// A loadContext is the context that a source gets. It has the values of the caller
// who started the load, but neither its deadline nor its end: others may wait
// longer. It ends when the load is settled.
//
// The standard library's would take as many allocations as the rest of a miss
// (BenchmarkMiss in internal/harness/peers). AfterFunc spares contexts that a source
// derives from this one a goroutine each: package context looks for it.
type loadContext struct {
	load   *load
	caller context.Context
	funcs  []*afterFunc // guarded by the group's mutex; not added to once the load is settled
}

type afterFunc struct{ call func() }

// Deadline returns when the load's reading is overdue.
func (c *loadContext) Deadline() (time.Time, bool) {
	s := c.load.store
	return s.group.clock.epoch.Add(time.Duration(c.load.begun) + s.loadTimeout), true
}

// Done returns the channel that is closed when the load is settled.
func (c *loadContext) Done() <-chan struct{} { return c.load.done }

// Err returns nil until then.
func (c *loadContext) Err() error {
	select {
	case <-c.load.done:
	default:
		return nil
	}
	if c.load.out.reason == ReasonSourceTimeout {
		return context.DeadlineExceeded
	}
	return context.Canceled
}

// Value returns the caller's value. WithoutCancel hides the one value that is not
// its own: by a key of the context package's, contexts below this one would find
// the caller's end.
func (c *loadContext) Value(key any) any { return context.WithoutCancel(c.caller).Value(key) }

// AfterFunc has call called in a goroutine of its own once the load is settled, and
// returns a function that prevents that.
func (c *loadContext) AfterFunc(call func()) (stop func() bool) {
	f := &afterFunc{call}
	mu := &c.load.store.group.mu
	mu.Lock()
	defer mu.Unlock()
	if c.load.phase == settled {
		go func() { <-c.load.done; call() }() // Err must have its answer first
		return func() bool { return false }
	}
	c.funcs = append(c.funcs, f)
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		stopped := f.call != nil
		f.call = nil
		return stopped
	}
}

// end calls what AfterFunc was given. The load is settled, and done is closed.
func (c *loadContext) end() {
	if c.funcs == nil { // nothing is added any more
		return
	}
	mu := &c.load.store.group.mu
	mu.Lock()
	defer mu.Unlock()
	for _, f := range c.funcs {
		if f.call != nil {
			go f.call()
			f.call = nil
		}
	}
}

// Format says what this is, for every verb: a load holds a secret.
func (c *loadContext) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "a load of the cache %q", c.load.store.name)
}
