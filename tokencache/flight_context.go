package tokencache

import (
	"context"
	"fmt"
	"time"
)

// A flight is the context of its load. It has the values of the context of the
// caller who started it, but neither its deadline nor its end: those of others who
// wait may be later.

// Deadline returns when the load is overdue.
func (f *flight) Deadline() (time.Time, bool) {
	return f.store.group.clock.epoch.Add(time.Duration(f.started) + f.store.loadTimeout), true
}

// Done returns the channel that is closed when the flight is settled.
func (f *flight) Done() <-chan struct{} { return f.done }

// Err returns nil until then.
func (f *flight) Err() error {
	select {
	case <-f.done:
	default:
		return nil
	}
	if f.settled == overdue {
		return context.DeadlineExceeded
	}
	return context.Canceled
}

// Value returns the caller's value. WithoutCancel hides the one value that is not
// its own: by a key of the context package's, contexts below this one would find the
// caller's end.
func (f *flight) Value(key any) any { return context.WithoutCancel(f.caller).Value(key) }

// Format says what this is, for every verb: a flight holds a secret.
func (f *flight) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "a load of the cache %q", f.store.name) }
