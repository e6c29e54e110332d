package fleet

import (
	"context"
	"sync"
)

// A feed passes on a follower's messages to a session's loop.
type feed struct {
	messages chan Message
	failed   chan error // receives once
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// openFeed follows from a position on. Where the follower cannot be opened, failed
// says so, after a pause, so that the session does not spin.
func (n *Node) openFeed(ctx context.Context, from Position) (*feed, error) {
	ctx, stop := context.WithCancel(ctx)
	f := &feed{messages: make(chan Message), failed: make(chan error, 1), stop: stop}
	f.done.Go(func() {
		err := f.pass(ctx, n.engine, from)
		n.sleep(ctx, n.backoff(n.cfg.Lease/100))
		f.failed <- err
	})
	return f, nil
}

func (f *feed) pass(ctx context.Context, engine Engine, from Position) error {
	follower, err := engine.Follow(ctx, from)
	if err != nil {
		return err
	}
	defer follower.Close()
	for {
		m, err := follower.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case f.messages <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *feed) close() {
	f.stop()
	f.done.Wait()
}
