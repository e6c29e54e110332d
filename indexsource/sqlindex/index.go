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
	"github.com/svctoken/svctoken/tokencache/tokenhash"
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
	// so the index answers nothing any more: open it again. To restore a backup
	// while the file is in use, use SQLite's backup API, or its shell's .restore.
	ErrReplaced = errors.New("the database file was replaced")

	// ErrClosed is wrapped by the errors of an index that was closed.
	ErrClosed = errors.New("sqlindex: the index is closed")
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

	// GoneAfter is how long polls must have failed before the health is none, which
	// clears the caches, and every Get fails until a poll succeeds: a node that is
	// cut off from its database confirms nothing any more. The poll that notices
	// this may take Timeout. Zero: never, and a hit stays one until its TTL.
	GoneAfter time.Duration

	// AllowReplicas has the index read from replicas of PostgreSQL too. A change is
	// then noticed when it has reached the replica, and no read goes back behind what
	// was seen.
	AllowReplicas bool

	// Logger is told when polls begin to fail and when they succeed again. Nil: nobody.
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
	engine  Engine
	cfg     Config // immutable after New
	get     statement
	poll    statement
	glances statement     // for polls that find nothing
	nudge   chan struct{} // holds one: poll now
	soon    chan struct{} // holds one: poll within settle

	mu       sync.Mutex // guards the fields below
	closed   bool
	seen     position // of the last poll that succeeded, the zero position before
	status   Status
	failing  time.Time // when polls began to fail, or zero
	gone     bool      // they have failed for Config.GoneAfter
	watchers map[*watcher]struct{}
	stop     context.CancelFunc // ends the poller, nil where there is none
	pollers  sync.WaitGroup     // the poller, and one that ends

	polling sync.Mutex // held during a poll; taken before telling and mu
	pinned  pinned     // SQLite's connection for polls; guarded by polling

	telling sync.Mutex // held while sources are told: one state after another; taken before mu
}

// A position is a point in the history of an index.
type position struct {
	uuid string
	rev  int64
	mark string
}

var _ indexsource.Index = (*Index)(nil)

// New returns the index in the database. It does not ask it anything yet, so the
// database may be down; see [Index.Migrate] for an empty one. The handle stays the
// caller's, to close after the index. The error is for an engine that is not known
// or a Config that makes no sense, and names the field.
func New(db *sql.DB, engine Engine, cfg Config) (*Index, error) {
	if engine != SQLite && engine != PostgreSQL {
		return nil, fmt.Errorf("sqlindex: %v", engine)
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	ix := &Index{
		db: db, engine: engine, cfg: cfg,
		nudge:    make(chan struct{}, 1),
		soon:     make(chan struct{}, 1),
		watchers: make(map[*watcher]struct{}),
	}
	ix.get.query = engine.bind(fmt.Sprintf(getQuery, engine.recovering()))
	ix.poll.query = engine.bind(fmt.Sprintf(pollQuery, engine.recovering(), engine.triggers()))
	ix.glances.query = engine.bind(fmt.Sprintf(glanceQuery, engine.recovering(), engine.triggers()))
	return ix, nil
}

// Close ends what the index has started, and waits for it. Its methods fail
// afterwards with [ErrClosed], and its health is none: the caches forget everything, as
// nobody would tell them of changes any more. It does not close the database handle.
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

// getQuery returns one row also where there is no document: who answers, and at
// which point of the history, belongs to the answer.
const getQuery = `SELECT m.uuid, m.format, m.rev, %s, t.created, t.creator, t.enabled, t.hash
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
	if len(ix.watching()) == 0 {
		seen = position{} // nobody polls, and nobody remembers: whatever the database says now is right
	}
	stmt, err := ix.get.prepare(ctx, ix.db)
	if err != nil {
		return indexsource.Document{}, false, wrap("get", err)
	}
	var at position
	var version int
	var replica bool
	var row columns
	err = stmt.QueryRowContext(ctx, id.Account.Namespace, id.Account.Service, id.Name).
		Scan(&at.uuid, &version, &at.rev, &replica, &row.created, &row.creator, &row.enabled, &row.hash)
	if err != nil {
		return indexsource.Document{}, false, wrap("get", err)
	}
	if err := ix.accept(at, seen, version, replica); err != nil {
		return indexsource.Document{}, false, fmt.Errorf("sqlindex: get: %w", err)
	}
	if !row.created.Valid {
		return indexsource.Document{}, false, nil
	}
	doc, err := row.document(id)
	return doc, err == nil, err
}

// ready returns what was seen last: a read that begins now must not be behind it.
func (ix *Index) ready() (position, error) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	switch {
	case ix.closed:
		return position{}, ErrClosed
	case errors.Is(ix.status.Err, ErrReplaced):
		return position{}, ix.status.Err
	default:
		return ix.seen, nil
	}
}

// present fails where polls have failed for so long that the index is gone: what a read
// found, nobody would evict.
func (ix *Index) present() error {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if ix.gone {
		return fmt.Errorf("sqlindex: get: no poll has succeeded for %v: %w", time.Since(ix.failing).Round(time.Second), ix.status.Err)
	}
	return nil
}

// accept decides whether an answer counts, and has the poller look where the answer
// is from a point of the history that it has not seen.
func (ix *Index) accept(at, seen position, version int, replica bool) error {
	if replica && !ix.cfg.AllowReplicas {
		return ErrReplica
	}
	if version != formatOf[ix.engine] {
		return fmt.Errorf("%w: it has %d, the package %d", ErrFormat, version, formatOf[ix.engine])
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

// The columns of a document, which are all NULL where there is no document.
type columns struct {
	created sql.NullInt64
	creator sql.NullString
	enabled sql.NullBool
	hash    sql.NullString
}

func (c columns) document(id tokencache.TokenID) (indexsource.Document, error) {
	doc := indexsource.Document{
		Token: id, Created: time.UnixMilli(c.created.Int64), Creator: c.creator.String, Enabled: c.enabled.Bool,
	}
	if c.hash.String == "" {
		return doc, nil
	}
	var err error
	if doc.Hash, err = tokenhash.Parse(c.hash.String); err != nil {
		return indexsource.Document{}, fmt.Errorf("sqlindex: token %s: %w", id, err)
	}
	return doc, nil
}

// A statement is prepared when it is first needed: the database may be down before.
type statement struct {
	query string // immutable after New

	mu       sync.Mutex // guards the fields below
	prepared *sql.Stmt
	closed   bool
}

func (s *statement) prepare(ctx context.Context, db *sql.DB) (*sql.Stmt, error) {
	s.mu.Lock()
	prepared, closed := s.prepared, s.closed
	s.mu.Unlock()
	if prepared != nil {
		return prepared, nil
	}
	if closed {
		return nil, ErrClosed
	}
	stmt, err := db.PrepareContext(ctx, s.query) // not under mu: it takes as long as the database does
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prepared != nil || s.closed {
		stmt.Close()
	} else {
		s.prepared = stmt
	}
	if s.prepared == nil {
		return nil, ErrClosed
	}
	return s.prepared, nil
}

func (s *statement) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prepared != nil {
		s.prepared.Close()
	}
	s.prepared, s.closed = nil, true
}
