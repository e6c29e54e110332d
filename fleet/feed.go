package fleet

import (
	"context"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// A feed passes a follower's messages on to a session's loop.
type feed struct {
	messages chan fleetlog.Message
	failed   chan error // receives once
	stop     context.CancelFunc
}

// openFeed follows from a position on. If the follower cannot be opened, or ends, failed
// receives the error after a pause, so that the session does not spin.
func (n *Node) openFeed(ctx context.Context, from fleetlog.Position, pause time.Duration) *feed {
	ctx, stop := context.WithCancel(ctx)
	f := &feed{messages: make(chan fleetlog.Message), failed: make(chan error, 1), stop: stop}
	n.running.Go(func() {
		err := f.pass(ctx, n.log, from)
		n.sleep(ctx, n.backoff(pause))
		f.failed <- err
	})
	return f
}

func (f *feed) pass(ctx context.Context, log fleetlog.Log, from fleetlog.Position) error {
	follower, err := log.Follow(ctx, from)
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

// close does not wait for the log: a client that is reconnecting may ignore its context
// for seconds, and a session has to end when its lease does.
func (f *feed) close() { f.stop() }
