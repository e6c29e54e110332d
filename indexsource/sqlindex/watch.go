package sqlindex

import (
	"context"
	"strings"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// Watch tells the source of every change: of those that are made through this
// Index before they are reported as done, of all others by the poller, a goroutine
// that runs from the first Watch to the last cancel or to Close. The state is the zero
// State until the first poll has succeeded, and the caches are cleared then.
func (ix *Index) Watch(source *indexsource.Source) (cancel func()) {
	ix.notifying.Lock() // no poll may tell a state in between
	defer ix.notifying.Unlock()
	remove := ix.watchers.Add(source)
	ix.mu.Lock()
	state := ix.status.State
	if ix.stop == nil && !ix.closed {
		var ctx context.Context
		ctx, ix.stop = context.WithCancel(context.Background())
		ix.pollers.Go(func() { ix.run(ctx) })
	}
	ix.mu.Unlock()
	source.StateChanged(state)
	return func() { ix.unwatch(remove) }
}

// unwatch does not wait for the poller: the caller may hold locks that it needs.
func (ix *Index) unwatch(remove func()) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	remove()
	if ix.watchers.Len() == 0 && ix.stop != nil {
		ix.stop()
		ix.stop = nil
	}
}

// Nudge makes the poller look for changes now, and returns at once. Call it when you hear
// of a change in another way. Several calls while it looks make it look once more.
func (ix *Index) Nudge() { signal(ix.nudge) }

// Notified takes one of PostgreSQL's notifications: pglisten.Listen calls it. When it
// returns, the caches have forgotten the tokens that the notification names, and the
// poller will look for changes soon; if it names none, now. Nothing depends on the names:
// if they are too few, the polls find every change; if they are wrong, a token is
// forgotten needlessly.
func (ix *Index) Notified(payload string) {
	_, names, _ := strings.Cut(payload, " ") // before them is the rev
	if names == "" {
		ix.Nudge()
		return
	}
	for name := range strings.FieldsSeq(names) {
		id, err := tokencache.ParseTokenID(name)
		if err != nil {
			continue // no bearer can name it
		}
		ix.documentChanged(id)
	}
	signal(ix.soon)
}

func (ix *Index) documentChanged(id tokencache.TokenID) {
	for source := range ix.watchers.All() {
		source.DocumentChanged(id)
	}
}

// signal puts something into a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func drain(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}
