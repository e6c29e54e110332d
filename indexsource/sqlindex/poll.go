package sqlindex

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

type watcher struct{ *indexsource.Source }

// A Status is what an index knows of itself.
type Status struct {
	State    indexsource.State // as the sources were told
	Rev      int64             // of the last poll that succeeded
	Polled   time.Time         // when that poll began: every change committed before has been told. Zero: none has succeeded
	Duration time.Duration     // from then until the sources were told
	Err      error             // of the last poll, nil where it succeeded
}

// Status returns what the last polls have found. Without a watching source it is what
// the last call of [Index.Poll] has found.
func (ix *Index) Status() Status {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	return ix.status
}

// Watch has the source told of every change: of those that are made through this
// Index before they are reported as done, of all others by the poller, a goroutine
// that runs from the first Watch to the last cancel or to Close. The state is the zero
// State until the first poll has succeeded, and the caches are cleared then.
func (ix *Index) Watch(source *indexsource.Source) (cancel func()) {
	w := &watcher{source}
	ix.telling.Lock() // no poll is about to tell a state
	defer ix.telling.Unlock()
	ix.mu.Lock()
	ix.watchers[w] = struct{}{}
	state := ix.status.State
	if ix.stop == nil && !ix.closed {
		var ctx context.Context
		ctx, ix.stop = context.WithCancel(context.Background())
		ix.pollers.Go(func() { ix.run(ctx) })
	}
	ix.mu.Unlock()
	source.StateChanged(state)
	return func() { ix.unwatch(w) }
}

// unwatch does not wait for the poller: the caller may hold locks that it needs.
func (ix *Index) unwatch(w *watcher) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	delete(ix.watchers, w)
	if len(ix.watchers) == 0 && ix.stop != nil {
		ix.stop()
		ix.stop = nil
	}
}

func (ix *Index) watching() []*watcher {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	return slices.Collect(maps.Keys(ix.watchers))
}

// Nudge has the poller look for changes now, and returns at once. It is for whoever
// hears of changes in another way. Nudges that come while it looks are one.
func (ix *Index) Nudge() { signal(ix.nudge) }

// Notified is for whoever listens to PostgreSQL's notifications: pglisten.Listen calls
// it. When it returns, the caches have forgotten the tokens that the notification
// names, and the poller will look for changes soon; where it names none, now. The
// names are not relied on: they may be too few, or wrong, which forgets a token too
// many, and the polls find every change all the same.
func (ix *Index) Notified(payload string) {
	_, names, _ := strings.Cut(payload, " ") // before them is the rev
	if names == "" {
		ix.Nudge()
		return
	}
	watching := ix.watching()
	for name := range strings.FieldsSeq(names) {
		id, err := tokencache.ParseTokenID(name)
		if err != nil {
			continue // no bearer can name it
		}
		for _, w := range watching {
			w.DocumentChanged(id)
		}
	}
	signal(ix.soon)
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

// run polls until the context is done.
func (ix *Index) run(ctx context.Context) {
	for ctx.Err() == nil {
		drain(ix.nudge) // what asked for a poll until now, this one answers
		drain(ix.soon)
		err := ix.Poll(ctx)
		ix.rest(ctx, ix.interval(err))
	}
}

const (
	// settle is how long a poll that is wanted soon may wait, so that one poll is
	// enough for many changes, and so that nodes which hear of one do not ask together.
	settle = 50 * time.Millisecond

	// again is how long a poll that failed is not repeated. Config.Poll may be longer,
	// and the notification that asked for the poll does not come twice.
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
			soon = nil // the poll that the first one asks for is late enough for the others
			if wait := rand.N(settle); wait < interval-time.Since(began) {
				timer.Reset(wait)
			}
		}
	}
}

// interval returns how long to wait for the next poll: up to a tenth less than
// configured, so that nodes which have started together do not ask together.
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

// catchUp polls after a write of this process, so that a later poll does not tell the
// change again, to caches that have read it by then. Where one runs already, that one
// or the next will tell it.
func (ix *Index) catchUp(ctx context.Context) {
	if len(ix.watching()) == 0 || !ix.polling.TryLock() {
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
			return err // whoever asked gave up, which says nothing of the database
		}
		ix.failed(began, err)
		return err
	}
	ix.succeeded(began, news)
	return nil
}

// manyChanges is how many changed documents a poll reads at most. Of more, the caches
// forget everything, which costs less.
const manyChanges = 4096

// glanceQuery finds out whether anything has changed. It has no list to plan, and so
// takes a fifth of the time of pollQuery; nearly all polls find nothing.
const glanceQuery = `SELECT m.uuid, m.format, m.rev, m.swept, COALESCE(b.mark, ''), %s, %s
FROM svctoken_meta m LEFT JOIN svctoken_revs b ON b.rev = $1`

// pollQuery is one statement, hence one snapshot: no change can be between its parts.
// The order makes the database use its indexes on rev.
const pollQuery = `SELECT m.uuid, m.format, m.rev, m.swept, COALESCE(a.mark, ''), COALESCE(b.mark, ''), %s, %s, c.namespace, c.service, c.name
FROM svctoken_meta m
LEFT JOIN svctoken_revs a ON a.rev = m.rev
LEFT JOIN svctoken_revs b ON b.rev = $1
LEFT JOIN (
	SELECT * FROM (SELECT namespace, service, name FROM svctoken_tokens WHERE rev > $1 ORDER BY rev LIMIT $2) t
	UNION ALL
	SELECT * FROM (SELECT namespace, service, name FROM svctoken_tombstones WHERE rev > $1 ORDER BY rev LIMIT $2) d
) c ON TRUE`

// News is what a poll has read.
type news struct {
	position
	version  int
	swept    int64
	thenMark string // at the rev that was seen last
	replica  bool
	triggers int
	changed  []tokencache.TokenID
	same     bool // nothing was written since the last poll
}

// look reads what has changed since the last poll that succeeded.
func (ix *Index) look(ctx context.Context) (news, error) {
	seen, err := ix.ready()
	if err != nil {
		return news{}, err
	}
	if ix.engine == SQLite && ix.db.Stats().MaxOpenConnections != 1 { // else there would be none left
		return ix.pinned.look(ctx, ix, seen)
	}
	if seen.uuid != "" {
		if n, err := ix.glance(ctx, seen); err != nil || n.position == seen {
			return n, err
		}
	}
	stmt, err := ix.poll.prepare(ctx, ix.db)
	if err != nil {
		return news{}, wrap("poll", err)
	}
	rows, err := stmt.QueryContext(ctx, seen.rev, manyChanges+1)
	if err != nil {
		return news{}, wrap("poll", err)
	}
	return ix.readNews(rows, seen)
}

// glance reads where the index is. Its news have no changes: unless the position is the
// one that was seen last, pollQuery says what has happened, in a snapshot of its own,
// and what was read here does not count.
func (ix *Index) glance(ctx context.Context, seen position) (news, error) {
	stmt, err := ix.glances.prepare(ctx, ix.db)
	if err != nil {
		return news{}, wrap("poll", err)
	}
	var n news
	err = stmt.QueryRowContext(ctx, seen.rev).Scan(&n.uuid, &n.version, &n.rev, &n.swept, &n.thenMark, &n.replica, &n.triggers)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return news{}, errNoIndex
	case err != nil:
		return news{}, wrap("poll", err)
	}
	n.mark = n.thenMark // if the rev is the same
	return n, ix.check(n, seen)
}

// readNews reads the rows of a poll, and closes them.
func (ix *Index) readNews(rows *sql.Rows, seen position) (news, error) {
	defer rows.Close()
	var n news
	found := false
	for rows.Next() {
		found = true
		var namespace, service, name sql.NullString
		if err := rows.Scan(&n.uuid, &n.version, &n.rev, &n.swept, &n.mark, &n.thenMark, &n.replica, &n.triggers, &namespace, &service, &name); err != nil {
			return news{}, wrap("poll", err)
		}
		if name.Valid {
			n.changed = append(n.changed, tokencache.Account{Namespace: namespace.String, Service: service.String}.TokenID(name.String))
		}
	}
	if err := rows.Err(); err != nil {
		return news{}, wrap("poll", err)
	}
	if !found {
		return news{}, errNoIndex
	}
	return n, ix.check(n, seen)
}

// errNoIndex: the tables are there, and the row that says which index it is is not.
var errNoIndex = errors.New("sqlindex: poll: svctoken_meta is empty")

// check refuses what a poll must not believe.
func (ix *Index) check(n news, seen position) error {
	switch {
	case n.replica && !ix.cfg.AllowReplicas:
		return fmt.Errorf("sqlindex: poll: %w", ErrReplica)
	case n.replica && n.uuid == seen.uuid && n.rev < seen.rev:
		return fmt.Errorf("sqlindex: poll: %w", ErrBehind) // it lags; a primary would have been set back
	default:
		return nil
	}
}

// doubtful reports whether the list of changes says too little: the index went
// another way since the last poll, or the list is cut, or tombstones are gone.
func (n news) doubtful(seen position) bool {
	return n.rev < seen.rev || n.thenMark != seen.mark || n.swept > seen.rev || len(n.changed) > manyChanges
}

// succeeded takes the new position, and then tells the sources. The other way round, a
// read that began after they were told could come from a replica that is behind the
// change, and be remembered.
func (ix *Index) succeeded(began time.Time, n news) {
	ix.telling.Lock()
	defer ix.telling.Unlock()
	seen, status, failing := ix.advance(n)
	if !n.same {
		status.Rev, status.Err = n.rev, nil
		status.State = indexsource.State{Health: indexsource.HealthGreen, UUID: n.uuid, UpToDate: true}
		if n.version != formatOf[ix.engine] || n.triggers < triggersOf[ix.engine] {
			status.State.UpToDate = false
			status.Err = fmt.Errorf("sqlindex: poll: %w: version %d with %d triggers, the package has %d with %d", ErrFormat, n.version, n.triggers, formatOf[ix.engine], triggersOf[ix.engine])
		}
	}
	for _, w := range ix.watching() {
		switch {
		case w.StateChanged(status.State) || n.same || seen.uuid == "": // cleared, or nothing to tell
		case n.doubtful(seen):
			w.EverythingChanged()
		default:
			tell(w, n.changed)
		}
	}
	status.Polled, status.Duration = began, time.Since(began)
	ix.mu.Lock()
	ix.status = status
	ix.mu.Unlock()
	if !failing.IsZero() {
		ix.cfg.Logger.Info("the index answers again", "failed_for", time.Since(failing))
	}
}

// advance takes the new position, and returns what was before.
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

func tell(w *watcher, changed []tokencache.TokenID) {
	for _, id := range changed {
		w.DocumentChanged(id)
	}
}

// failed notes a failure, and tells the sources where it has lasted too long.
func (ix *Index) failed(began time.Time, err error) {
	ix.telling.Lock()
	defer ix.telling.Unlock()
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
	for _, w := range ix.watching() {
		w.StateChanged(state)
	}
}

// vanish tells the sources that the index is not there any more.
func (ix *Index) vanish() {
	ix.telling.Lock()
	defer ix.telling.Unlock()
	ix.mu.Lock()
	ix.status.State = indexsource.State{}
	ix.mu.Unlock()
	for _, w := range ix.watching() {
		w.StateChanged(indexsource.State{})
	}
}

// stateLocked returns the state after failures that have lasted for some time.
func (ix *Index) stateLocked(err error, lasted time.Duration) indexsource.State {
	state := ix.status.State
	ix.gone = ix.cfg.GoneAfter > 0 && lasted >= ix.cfg.GoneAfter
	switch {
	case ix.gone, isNoTable(err), errors.Is(err, errNoIndex), errors.Is(err, ErrReplaced):
		return indexsource.State{}
	case lasted >= ix.cfg.RedAfter && state.Health != indexsource.HealthNone:
		state.Health = indexsource.HealthRed
	}
	return state
}
