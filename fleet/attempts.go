package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// errUnsure is wrapped by the error of an append if an earlier attempt may have been
// written. The error then only quotes what the log said to a later attempt: a conflict
// may be with the earlier attempt, or with a message after that.
var errUnsure = errors.New("fleet: an earlier attempt may have been written")

// concludeAppend reports whether the append is over, and with which error. Earlier says
// that an attempt before this one has ended without an answer.
func concludeAppend(err error, earlier bool) (final bool, result error) {
	switch {
	case err == nil:
		return true, nil
	case !errors.Is(err, fleetlog.ErrConflict) && !errors.Is(err, fleetlog.ErrUnfit):
		return false, err
	case earlier:
		return true, fmt.Errorf("%w: %v", errUnsure, err)
	default:
		return true, err
	}
}

// untouched reports whether an append that ended with this error has certainly written
// nothing.
func untouched(err error) bool {
	return errors.Is(err, fleetlog.ErrConflict) || errors.Is(err, fleetlog.ErrUnfit)
}

// patience is how long one attempt may take.
func patience(lease time.Duration) time.Duration { return max(lease/5, 100*time.Millisecond) }

// doubled returns the pause after another failure: twice the one before, within limits.
func doubled(pause, least, most time.Duration) time.Duration { return max(least, min(2*pause, most)) }

// ended returns the error of a call that ended with its context. It has what the log said
// last, unless that was only the end of an attempt.
func ended(ctx context.Context, last error) error {
	if last == nil || errors.Is(last, context.DeadlineExceeded) || errors.Is(last, context.Canceled) {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: %w", context.Cause(ctx), last)
}

// append appends, and tries again until the outcome is known. Each attempt has the
// entry's ID, so that at most one is written. Failed, which may be nil, is called for
// each attempt that fails.
func (n *Node) append(ctx context.Context, entry fleetlog.Entry, failed func(error)) (fleetlog.Position, error) {
	var last error
	for earlier := false; ; earlier = true {
		attempt, cancel := context.WithTimeout(ctx, n.cfg.clock.Real(patience(n.cfg.Lease)))
		pos, err := n.log.Append(attempt, entry)
		cancel()
		final, err := concludeAppend(err, earlier)
		if final {
			return pos, err
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if failed != nil && ctx.Err() == nil {
			failed(err)
		}
		if n.sleep(ctx, n.backoff(n.cfg.Lease/50)) != nil {
			return 0, ended(ctx, last)
		}
	}
}

// read reads a view that valid accepts, and tries again until it has one, or until no
// attempt can succeed.
func (n *Node) read(ctx context.Context, valid func(fleetlog.View) error, failed func(error), keys ...string) (fleetlog.View, error) {
	wait := n.cfg.Lease / 1000
	var last error
	for {
		attempt, cancel := context.WithTimeout(ctx, n.cfg.clock.Real(patience(n.cfg.Lease)))
		view, err := n.log.Read(attempt, keys...)
		cancel()
		if err == nil {
			err = valid(view)
		}
		if err == nil || errors.Is(err, errLog) || errors.Is(err, errTaken) || errors.Is(err, fleetlog.ErrUnfit) {
			return view, err
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if failed != nil && ctx.Err() == nil {
			failed(err)
		}
		if n.sleep(ctx, n.backoff(wait)) != nil {
			return fleetlog.View{}, ended(ctx, last)
		}
		wait = doubled(wait, 0, n.cfg.Lease/20)
	}
}

// backoff returns between half and one and a half of d: nodes that failed together
// must not come back together.
func (n *Node) backoff(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.5 + n.cfg.jitter()))
}

// sleep waits for d by the node's clock.
func (n *Node) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(n.cfg.clock.Real(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
