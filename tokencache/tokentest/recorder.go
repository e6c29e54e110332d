package tokentest

import (
	"context"
	"slices"
	"sync"

	"github.com/svctoken/svctoken/tokencache"
)

// A Recorder keeps the events that a group's observer is told: its Observe goes into
// GroupConfig.Observer, as it does in a [Kit]. The zero Recorder is empty and ready
// to use. It must not be copied after its first use.
//
// It is safe for concurrent use by multiple goroutines.
type Recorder struct {
	mu     sync.Mutex // guards the fields below
	events []tokencache.Event
	grown  chan struct{} // closed at the next event; nil: nobody waits
}

// Observe adds an event.
func (r *Recorder) Observe(_ context.Context, ev tokencache.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, ev)
	if r.grown != nil {
		close(r.grown)
		r.grown = nil
	}
}

// Events returns the events of these kinds so far, in the order in which they were
// told; no kinds: all of them.
func (r *Recorder) Events(kinds ...tokencache.EventKind) []tokencache.Event {
	events, _ := r.look(kinds, -1)
	return events
}

// Await returns the events of these kinds as soon as there are n of them. The error is
// the cause of the context's end. A load is told after its callers have their answers,
// so that a test that looks at once may look too early; in a bubble, synctest.Wait
// helps as well.
func (r *Recorder) Await(ctx context.Context, n int, kinds ...tokencache.EventKind) ([]tokencache.Event, error) {
	for {
		events, grown := r.look(kinds, n)
		if grown == nil {
			return events, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return events, context.Cause(ctx)
		}
	}
}

// look returns the events of these kinds and, if they are fewer than n, a channel that is
// closed at the next event.
func (r *Recorder) look(kinds []tokencache.EventKind, n int) ([]tokencache.Event, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var events []tokencache.Event
	for _, ev := range r.events {
		if len(kinds) == 0 || slices.Contains(kinds, ev.Kind) {
			events = append(events, ev)
		}
	}
	if len(events) >= n {
		return events, nil
	}
	if r.grown == nil {
		r.grown = make(chan struct{})
	}
	return events, r.grown
}
