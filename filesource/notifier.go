package filesource

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A notifier tells others of a change: first the caches, then the logger, then the host.
// It holds no lock while it calls any of them, so that they may call the File. It knows
// what the poller is doing, so that Close can wait for the poller, but not for what the
// poller calls: Close may be called there.
type notifier struct {
	log  func(notice) // immutable
	host func(Status) // immutable; nil: the host is not called

	underWay atomic.Pointer[notification] // nil: the caches are not being told of anything

	mu      sync.Mutex // guards the fields below; never held while anything is called
	changed sync.Cond  // of the next two
	polling bool       // whether the poller runs
	away    bool       // whether the poller is calling the caches, the logger or the host
	busy    bool       // whether a goroutine is calling the logger or the host
	news    []notice   // what the host must still be told
	logged  bool       // whether the logger has been told of the first
}

func newNotifier(log func(notice), host func(Status)) *notifier {
	n := &notifier{log: log, host: host}
	n.changed.L = &n.mu
	return n
}

// set changes a field that others wait for.
func (n *notifier) set(field *bool, value bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	*field = value
	n.changed.Broadcast()
}

// untilPollerEnds waits until the poller has ended, or is in the middle of a call to the
// caches, the logger or the host.
func (n *notifier) untilPollerEnds() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.polling && !n.away {
		n.changed.Wait()
	}
}

// A notification exists while the caches are told of a change. Their observers may call
// the File, which holds its locks meanwhile: a call that needs those would wait for
// itself.
type notification struct {
	over chan struct{} // closed when it is
}

// notificationKey is the key of a notification in the context that the caches get.
type notificationKey struct{ *notifier }

// notificationLimit bounds how long a call waits for the end of a notification. Caches
// wait for no source, so one that takes longer waits for that very call.
const notificationLimit = 10 * time.Second

var errNotifying = errors.New("the caches are being told of a change; make another one afterwards")

// begin returns the context for the caches, and the function to call when they have been
// told. It is called with File.applying held, so that there is one notification at a
// time.
func (n *notifier) begin(ctx context.Context, poller bool) (told context.Context, end func()) {
	t := &notification{make(chan struct{})}
	n.underWay.Store(t)
	if poller {
		n.set(&n.away, true)
	}
	return context.WithValue(context.WithoutCancel(ctx), notificationKey{n}, t), func() {
		if poller {
			n.set(&n.away, false)
		}
		n.underWay.Store(nil)
		close(t.over)
	}
}

// untilTold waits for the end of the notification that is under way. The error is the
// context's, or errNotifying if this is called from within the notification. A call from
// within has the notification's own context; with any other context it would wait for
// itself, hence the time limit.
func (n *notifier) untilTold(ctx context.Context) error {
	t := n.underWay.Load()
	if t == nil {
		return nil
	}
	if ctx.Value(notificationKey{n}) == any(t) {
		return errNotifying
	}
	select {
	case <-t.over:
		return nil
	case <-time.After(notificationLimit):
		return errNotifying
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add keeps a notice for report.
func (n *notifier) add(what notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.news = append(n.news, what)
}

// report tells the logger and the host what is new. One goroutine at a time reports
// everything, in order, until its context is done.
func (n *notifier) report(ctx context.Context, poller bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy {
		return
	}
	n.busy = true
	defer func() { n.busy = false }()
	for len(n.news) > 0 && ctx.Err() == nil {
		what := n.news[0]
		if !n.logged {
			n.logged = true
			n.callLocked(poller, func() { n.log(what) })
			continue // Close may have returned meanwhile
		}
		n.news, n.logged = slices.Delete(n.news, 0, 1), false
		if n.host != nil {
			n.callLocked(poller, func() { n.host(what.Status) })
		}
	}
}

// callLocked calls the logger or the host. It unlocks the notifier meanwhile.
func (n *notifier) callLocked(poller bool, call func()) {
	if poller {
		n.away = true
		n.changed.Broadcast()
	}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		if poller {
			n.away = false
		}
	}()
	call()
}
