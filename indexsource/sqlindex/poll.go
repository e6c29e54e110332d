package sqlindex

import (
	"context"
	"math/rand/v2"
	"time"
)

// run polls until the context is done.
func (ix *Index) run(ctx context.Context) {
	for ctx.Err() == nil {
		drain(ix.nudge) // this poll answers all nudges until now
		drain(ix.soon)
		err := ix.Poll(ctx)
		ix.rest(ctx, ix.interval(err))
	}
}

const (
	// debounce is how long a poll that is wanted soon may wait, so that one poll is
	// enough for many changes, and so that nodes which hear of one do not ask together.
	debounce = 50 * time.Millisecond

	// again is how long the poller waits after a poll that failed. It does not wait for
	// Config.Poll, which may be longer: the notification that asked for the poll does not
	// come twice.
	again = time.Second
)

// rest waits until the next poll is due.
func (ix *Index) rest(ctx context.Context, interval time.Duration) {
	began := time.Now()
	timer := time.NewTimer(interval)
	defer timer.Stop()
	soon := ix.soon
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-ix.nudge:
			return
		case <-soon:
			soon = nil // the poll that the first signal asks for covers later ones
			if wait := rand.N(debounce); wait < interval-time.Since(began) {
				timer.Reset(wait)
			}
		}
	}
}

// interval returns how long to wait for the next poll: up to a tenth less than
// configured, so that nodes which started together do not ask together.
func (ix *Index) interval(err error) time.Duration {
	interval := ix.cfg.Poll
	if interval < 0 {
		interval = 1<<63 - 1
	}
	if err != nil {
		interval = min(interval, again)
	}
	return interval - rand.N(interval/10+1)
}

// Poll looks for changes now: when it returns without an error, the caches have
// forgotten everything that was changed by commits before the call. The error of a
// poll that fails is also in the [Status], unless the context was done by then.
func (ix *Index) Poll(ctx context.Context) error {
	ix.polling.Lock()
	defer ix.polling.Unlock()
	return ix.pollLocked(ctx)
}

// catchUp polls after a write of this process. Otherwise a later poll would tell the
// caches of the change again, when they have read it already. If a poll is running, that
// one or the next covers the change.
func (ix *Index) catchUp(ctx context.Context) {
	if ix.watchers.Len() == 0 || !ix.polling.TryLock() {
		ix.Nudge()
		return
	}
	defer ix.polling.Unlock()
	ix.pollLocked(ctx)
}

func (ix *Index) pollLocked(ctx context.Context) error {
	if _, err := ix.ready(); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, ix.cfg.Timeout)
	defer cancel()
	began := time.Now()
	news, err := ix.look(limited)
	if err != nil {
		if ctx.Err() != nil {
			return err // the caller gave up, which says nothing about the database
		}
		ix.failed(began, err)
		return err
	}
	ix.succeeded(began, news)
	return nil
}
