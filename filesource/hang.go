package filesource

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A file system may hang: a hard NFS mount whose server has gone, a FUSE daemon that is
// stopped. A call to it cannot be cancelled. So each call runs on a goroutine of its own,
// and the caller can stop waiting for the answer.

const (
	leastHang = 2 * time.Second        // the shortest time after which a look counts as one that hangs
	grace     = 500 * time.Millisecond // how long a call may take to end in order after its context is done
)

var errHangs = errors.New("the file system does not answer")

// calls are this File's calls to the file system that are under way.
type calls struct {
	mu    sync.Mutex // guards the fields below
	began map[int]time.Time
	next  int
	ended time.Time // when the last one ended
}

// begin notes that a call begins, until end is called.
func (c *calls) begin() (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.began == nil {
		c.began = make(map[int]time.Time)
	}
	c.next++
	id := c.next
	c.began[id] = time.Now()
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.began, id)
		c.ended = time.Now()
	}
}

// longest returns for how long the oldest call has been under way.
func (c *calls) longest() (longest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, began := range c.began {
		longest = max(longest, time.Since(began))
	}
	return longest
}

// lastEnded returns when the last call ended.
func (c *calls) lastEnded() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// tooLong is how long a call may take: as long as a File waits for a file that never
// rests.
func (f *File) tooLong() time.Duration { return max(leastHang, hopeless*f.span()) }

// hang returns the error for a file system that does not answer.
func (f *File) hang() error { return fmt.Errorf("filesource: %s: %w", f.shown, errHangs) }

// A result is the outcome of a call that runs on a goroutine of its own.
type result[T any] struct {
	value    T
	err      error
	panicked any
}

// start runs a call on a goroutine of its own.
func start[T any](call func() (T, error)) <-chan result[T] {
	done := make(chan result[T], 1)
	go func() {
		var r result[T]
		ended := false
		defer func() {
			if !ended {
				r.panicked = recover()
			}
			done <- r
		}()
		r.value, r.err = call()
		ended = true
	}()
	return done
}

// get returns the call's outcome. If the call panicked, get panics, on the caller's
// goroutine.
func (r result[T]) get() (T, error) {
	if r.panicked != nil {
		panic(r.panicked)
	}
	return r.value, r.err
}

// await waits for a call. It gives up, with an error, if the context is done and the call
// does not end within grace, or if slow returns true; slow is asked each time a call to
// the file system takes too long.
func await[T any](ctx context.Context, f *File, done <-chan result[T], slow func() (giveUp bool)) (value T, err error, gaveUp bool) {
	timer := time.NewTimer(f.tooLong())
	defer timer.Stop()
	for {
		select {
		case r := <-done:
			value, err = r.get()
			return value, err, false
		case <-timer.C:
			took := f.calls.longest()
			if took >= f.tooLong() && slow() {
				return value, f.hang(), true
			}
			timer.Reset(max(f.tooLong()-took, time.Second))
		case <-ctx.Done():
			return awaitEnd(ctx, f, done)
		}
	}
}

// awaitEnd waits for a call whose context is done.
func awaitEnd[T any](ctx context.Context, f *File, done <-chan result[T]) (value T, err error, gaveUp bool) {
	select {
	case r := <-done:
		value, err = r.get()
		return value, err, false
	case <-time.After(grace):
		return value, fmt.Errorf("%w: %w", f.hang(), ctx.Err()), true
	}
}
