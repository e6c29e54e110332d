package sqlindex

import (
	"errors"
	"fmt"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// A Status is what an index knows of itself.
type Status struct {
	State    indexsource.State // as the sources were told
	Rev      int64             // of the last poll that succeeded
	Polled   time.Time         // when that poll began: the caches know of every change committed before. Zero: none has succeeded
	Duration time.Duration     // from then until the sources were told
	Err      error             // of the last poll, nil if it succeeded
}

// Status returns what the last polls have found. Without a watching source it is what
// the last call of [Index.Poll] has found.
func (ix *Index) Status() Status {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	return ix.status
}

// succeeded takes the new position, and then tells the sources. In the other order, a
// read that began after they were told could come from a replica that is behind the
// change, and be remembered.
func (ix *Index) succeeded(began time.Time, n news) {
	ix.notifying.Lock()
	defer ix.notifying.Unlock()
	seen, status, failing := ix.advance(n)
	if !n.same {
		status.Rev, status.State, status.Err = n.rev, ix.stateOf(n), ix.formatOf(n)
	}
	for source := range ix.watchers.All() {
		switch {
		case source.StateChanged(status.State) || n.same || seen.uuid == "": // cleared, or nothing to tell
		case n.doubtful(seen):
			source.EverythingChanged()
		default:
			tell(source, n.changed)
		}
	}
	if !n.same && seen.uuid != "" {
		ix.applyEvictions(n, seen)
	}
	status.Polled, status.Duration = began, time.Since(began)
	ix.mu.Lock()
	ix.status = status
	ix.mu.Unlock()
	if !failing.IsZero() {
		ix.cfg.Logger.Info("the index answers again", "failed_for", time.Since(failing))
	}
}

// advance takes the new position, and returns the one before.
func (ix *Index) advance(n news) (seen position, status Status, failing time.Time) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	seen, status, failing = ix.seen, ix.status, ix.failing
	if !n.same {
		ix.seen = n.position
	}
	ix.failing, ix.gone = time.Time{}, false
	return seen, status, failing
}

// formatOf returns what is wrong with the schema, or nil.
func (ix *Index) formatOf(n news) error {
	if err := n.format.check(); err != nil {
		return fmt.Errorf("sqlindex: poll: %w", err)
	}
	if n.blind {
		return fmt.Errorf("sqlindex: poll: %w: it has %d triggers in force of %d", ErrFormat, n.triggers, triggersOf[ix.dialect])
	}
	return nil
}

// stateOf returns the state of an index that answers. An index that this program cannot
// read counts as missing.
func (ix *Index) stateOf(n news) indexsource.State {
	if n.format.check() != nil {
		return indexsource.State{}
	}
	return indexsource.State{Health: indexsource.HealthGreen, UUID: n.uuid, UpToDate: ix.formatOf(n) == nil}
}

func tell(source *indexsource.Source, changed []tokencache.TokenID) {
	for _, id := range changed {
		source.DocumentChanged(id)
	}
}

// failed notes a failure, and tells the sources if it has lasted too long.
func (ix *Index) failed(began time.Time, err error) {
	ix.notifying.Lock()
	defer ix.notifying.Unlock()
	ix.mu.Lock()
	first, last := ix.failing.IsZero(), ix.status.State
	if first {
		ix.failing = began
	}
	state := ix.stateLocked(err, time.Since(ix.failing))
	ix.status.Err, ix.status.State = err, state
	ix.mu.Unlock()
	if first {
		ix.cfg.Logger.Warn("the index does not answer", "error", err)
	}
	if state == last {
		return
	}
	ix.cfg.Logger.Error("the index is not available", "health", state.Health.String(), "error", err)
	for source := range ix.watchers.All() {
		source.StateChanged(state)
	}
}

// vanish tells the sources that the index is gone.
func (ix *Index) vanish() {
	ix.notifying.Lock()
	defer ix.notifying.Unlock()
	ix.mu.Lock()
	ix.status.State = indexsource.State{}
	ix.mu.Unlock()
	for source := range ix.watchers.All() {
		source.StateChanged(indexsource.State{})
	}
}

// stateLocked returns the state after polls have failed for so long.
func (ix *Index) stateLocked(err error, lasted time.Duration) indexsource.State {
	state := ix.status.State
	ix.gone = ix.cfg.GoneAfter > 0 && lasted >= ix.cfg.GoneAfter
	switch {
	case ix.gone, isNoSchema(err), errors.Is(err, errNoIndex), errors.Is(err, ErrReplaced):
		return indexsource.State{}
	case lasted >= ix.cfg.RedAfter && state.Health != indexsource.HealthNone:
		state.Health = indexsource.HealthRed
	}
	return state
}
