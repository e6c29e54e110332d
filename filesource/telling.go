package filesource

import (
	"context"
	"errors"
	"time"
)

// A telling is that the caches are being told of a change. Their observers may call
// the File, which holds its locks meanwhile: a call that needs them would wait for
// itself.
type telling struct {
	over chan struct{} // closed when it is
}

// tellingKey is the key under which the context of a telling of this file has it.
type tellingKey struct{ *File }

// mostTelling is how long a telling takes at most, where nobody waits for its end from
// within: a cache waits for no source.
const mostTelling = 10 * time.Second

var errTelling = errors.New("the caches are being told of a change; make another one afterwards")

// beginTellingLocked returns the context for the caches, and what to call when they
// have been told. It is called with applying held.
func (f *File) beginTellingLocked(ctx context.Context, poller bool) (told context.Context, end func()) {
	t := &telling{make(chan struct{})}
	f.telling.Store(t)
	if poller {
		f.setPollerTells(true)
	}
	return context.WithValue(context.WithoutCancel(ctx), tellingKey{f}, t), func() {
		if poller {
			f.setPollerTells(false)
		}
		f.telling.Store(nil)
		close(t.over)
	}
}

// setPollerTells says whether the poller is telling the caches: Close does not wait for
// that, as it may come from there.
func (f *File) setPollerTells(tells bool) {
	f.reporting.Lock()
	defer f.reporting.Unlock()
	f.pollerTells = tells
	f.changedState.Broadcast()
}

// untilTold waits until the caches have been told of what they are being told now. The
// error is errTelling where this is called from within, or the context's. A call from
// within has the telling's own context, or, where it has another, waits for itself.
func (f *File) untilTold(ctx context.Context) error {
	t := f.telling.Load()
	if t == nil {
		return nil
	}
	if ctx.Value(tellingKey{f}) == any(t) {
		return errTelling
	}
	timer := time.NewTimer(mostTelling)
	defer timer.Stop()
	select {
	case <-t.over:
		return nil
	case <-timer.C:
		return errTelling
	case <-ctx.Done():
		return ctx.Err()
	}
}
