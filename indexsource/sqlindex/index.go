package sqlindex

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

var (
	// ErrReplica is wrapped by the errors of an index whose database answers from a
	// replica, unless Config.AllowReplicas is set.
	ErrReplica = errors.New("the database is a replica")

	// ErrBehind is wrapped by the error of a read that found the index at an earlier
	// point than this process has seen already: a replica lags, or the index was set
	// back to a backup, which the next poll finds out.
	ErrBehind = errors.New("the database is behind what was seen already")

	// ErrReplaced is wrapped by the errors of an index on SQLite whose file was
	// removed or replaced by another one. The connections still read the old file,
	// so the index answers nothing any more: restart the process, or open it again. If
	// the same file comes back, the index recovers by itself. The files -wal and -shm
	// beside it count, too. To restore a backup while the file is in use, use SQLite's
	// backup API, or its shell's .restore.
	ErrReplaced = errors.New("the database file was removed or replaced: if it does not come back, restart the process")

	// ErrJournal is wrapped by the errors of an index on SQLite whose journal_mode is
	// OFF or MEMORY: a crash can lose or break what was acknowledged.
	ErrJournal = errors.New("journal_mode must be WAL, or another one that survives a crash")
)

// Config has the optional settings of an [Index]. The zero Config is the
// recommended one.
type Config struct {
	// Poll is how often the index asks the database for changes while a source
	// watches it. Zero: 1 s. It bounds, with the time that one read takes, how long a
	// change by another process stays unnoticed. If negative, the index polls only
	// when Poll or Nudge is called.
	Poll time.Duration

	// Timeout is how long one poll may take. Zero: 5 s.
	Timeout time.Duration

	// RedAfter is how long polls must have failed before the index's health is red.
	// Zero: 10 s. While it is red, the caches still answer from memory. They are
	// cleared when the database is back.
	RedAfter time.Duration

	// GoneAfter is how long polls must have failed before the health is HealthNone, which
	// clears the caches, and every Get fails until a poll succeeds: a node that is
	// cut off from its database confirms nothing any more. The poll that notices
	// this may take Timeout. Zero: never, and a hit stays one until its TTL.
	GoneAfter time.Duration

	// AllowReplicas lets the index read from replicas of PostgreSQL too. A change is
	// then noticed when it has reached the replica, and no read goes back behind what
	// was seen.
	AllowReplicas bool

	// Logger gets a line when polls begin to fail and when they succeed again. Nil:
	// silent.
	Logger *slog.Logger
}

func (cfg Config) withDefaults() (Config, error) {
	for _, field := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
		least time.Duration
	}{
		{"Poll", &cfg.Poll, time.Second, -1 << 62},
		{"Timeout", &cfg.Timeout, 5 * time.Second, 1},
		{"RedAfter", &cfg.RedAfter, 10 * time.Second, 1},
		{"GoneAfter", &cfg.GoneAfter, 0, 0},
	} {
		if *field.value == 0 {
			*field.value = field.zero
		}
		if *field.value < field.least {
			return cfg, fmt.Errorf("sqlindex: Config.%s %v is negative", field.name, *field.value)
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

// An Index is an index in an SQL database. [New] makes one. It is safe for
// concurrent use by multiple goroutines, and any number of processes may use one
// database.
//
// The proof, in four sentences. INVARIANT: rev grows with every change, and its row
// is locked from then until the commit, so a reader that sees rev r sees every
// change up to r, and none after. A poll notes r, and has told the caches of all
// changes up to r when the next one begins. A read that began before a change was
// told is forgotten by the cache that waits for it, and one that began afterwards
// sees the change, or fails with [ErrBehind]. Two copies of an index which went
// different ways have another uuid, a lower rev, or another mark at the rev that was
// seen last: then the caches forget everything.
type Index struct {
	db      *sql.DB
	dialect Dialect
	cfg     Config // immutable after New
	get     statement
	poll    statement
	glances statement     // for polls that find nothing
	nudge   chan struct{} // holds one: poll now
	soon    chan struct{} // holds one: poll within debounce

	mu      sync.Mutex // guards the fields below
	closed  bool
	seen    position // of the last poll that succeeded, the zero position before
	status  Status
	failing time.Time           // when polls began to fail, or zero
	gone    bool                // they have failed for Config.GoneAfter
	groups  []*tokencache.Group // of the calls of Evictor
	stop    context.CancelFunc  // ends the poller, nil if there is none
	pollers sync.WaitGroup      // the poller, and an earlier one that is ending

	watchers indexsource.Watchers
	tidying  daily // of svctoken_used

	polling sync.Mutex // held during a poll; taken before notifying and mu
	pinned  pinned     // SQLite's connection for polls; guarded by polling

	notifying sync.Mutex // held while sources are told: one state after another; taken before mu
}

// A position is a point in the history of an index.
type position struct {
	uuid string
	rev  int64
	mark string
}

var _ indexsource.Index = (*Index)(nil)

// New returns the index in the database. It asks the database nothing yet, so that may be
// down; for an empty one see [Index.Migrate]. The caller keeps the handle, and closes it
// after the index. The error is for an unknown dialect or for a Config that makes no
// sense, and names the field.
func New(db *sql.DB, dialect Dialect, cfg Config) (*Index, error) {
	if dialect != SQLite && dialect != PostgreSQL {
		return nil, fmt.Errorf("sqlindex: %v", dialect)
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ix := &Index{
		db: db, dialect: dialect, cfg: cfg,
		nudge: make(chan struct{}, 1),
		soon:  make(chan struct{}, 1),
	}
	for stmt, query := range map[*statement]string{
		&ix.get:     fmt.Sprintf(getQuery, dialect.recovering()),
		&ix.poll:    fmt.Sprintf(pollQuery, dialect.recovering(), dialect.triggers()),
		&ix.glances: fmt.Sprintf(glanceQuery, dialect.recovering(), dialect.triggers()),
	} {
		// PostgreSQL's drivers prepare repeated statements themselves, and a pooler may
		// need them not to.
		stmt.query, stmt.prepares = dialect.bind(query), dialect == SQLite
	}
	return ix, nil
}

// Close ends the poller, and waits for it. Afterwards the index's methods fail with
// tokencache.ErrClosed, and its health is HealthNone: the caches forget everything, since
// nobody would tell them of changes. It does not close the database handle.
func (ix *Index) Close() {
	ix.mu.Lock()
	ix.closed = true
	if ix.stop != nil {
		ix.stop()
		ix.stop = nil
	}
	ix.mu.Unlock()
	ix.pollers.Wait()
	ix.polling.Lock()
	defer ix.polling.Unlock()
	ix.vanish()
	ix.pinned.drop()
	ix.get.close()
	ix.poll.close()
	ix.glances.close()
}

// getQuery returns one row even if there is no document: the answer must say which
// database it is from, and from which point of its history.
const getQuery = `SELECT m.uuid, m.format, m.readable_by, m.rev, %s, ` + documentColumns + `, t.hash, t.previous
FROM svctoken_meta m LEFT JOIN svctoken_tokens t ON t.namespace = $1 AND t.service = $2 AND t.name = $3`

// Get returns the document of a token; see indexsource.Index. It reads from the
// primary, or fails: the error wraps [ErrReplica], [ErrBehind], [ErrReplaced] or
// [ErrFormat], or is an [*EngineError].
func (ix *Index) Get(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	const attempts = 4 // of replicas that lag
	wait := 5 * time.Millisecond
	for attempt := 1; ; attempt++ {
		doc, ok, err := ix.getOnce(ctx, id)
		if attempt == attempts || !ix.cfg.AllowReplicas || !errors.Is(err, ErrBehind) {
			return doc, ok, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return indexsource.Document{}, false, err
		}
		wait *= 4
	}
}

func (ix *Index) getOnce(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	seen, err := ix.ready()
	if err == nil {
		err = ix.present()
	}
	if err != nil {
		return indexsource.Document{}, false, err
	}
	if ix.watchers.Len() == 0 {
		seen = position{} // no source watches, so no cache remembers: whatever the database says now is right
	}
	var at position
	var f format
	var replica bool
	var row columns
	err = ix.get.queryRow(ctx, ix.db, []any{id.Account.Namespace, id.Account.Service, id.Name},
		append([]any{&at.uuid, &f.version, &f.readableBy, &at.rev, &replica}, append(row.targets(), &row.hash, &row.previous)...)...)
	if err != nil {
		return indexsource.Document{}, false, wrap("get", err)
	}
	if err := ix.accept(at, seen, f, replica); err != nil {
		return indexsource.Document{}, false, fmt.Errorf("sqlindex: get: %w", err)
	}
	if !row.created.Valid {
		return indexsource.Document{}, false, nil
	}
	doc, err := row.document(id)
	return doc, err == nil, err
}

// ready returns the last position that was seen: a read that begins now must not be
// behind it.
func (ix *Index) ready() (position, error) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if ix.closed {
		return position{}, errClosed
	}
	return ix.seen, nil
}

var errClosed = fmt.Errorf("sqlindex: %w", tokencache.ErrClosed)

// replaced returns an error if the file was replaced: a write to the old one is lost.
func (ix *Index) replaced() error {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if errors.Is(ix.status.Err, ErrReplaced) {
		return ix.status.Err
	}
	return nil
}

// present returns an error if the file was replaced, or if polls have failed for so long
// that the index is gone: no poll would evict what a read finds.
func (ix *Index) present() error {
	if err := ix.replaced(); err != nil {
		return err
	}
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if ix.gone {
		return fmt.Errorf("sqlindex: get: no poll has succeeded for %v: %w", time.Since(ix.failing).Round(time.Second), ix.status.Err)
	}
	return nil
}

// accept decides whether an answer counts, and makes the poller look if the answer is
// from a later point of the history than it has seen.
func (ix *Index) accept(at, seen position, f format, replica bool) error {
	if replica && !ix.cfg.AllowReplicas {
		return ErrReplica
	}
	if err := f.check(); err != nil {
		return err
	}
	switch {
	case seen.uuid == "":
		return nil
	case at.uuid != seen.uuid || at.rev < seen.rev:
		ix.Nudge()
		return ErrBehind
	case at.rev > seen.rev:
		signal(ix.soon)
	}
	return nil
}
