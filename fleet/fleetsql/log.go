package fleetsql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// Config holds the options of a [Log]. The zero value is the recommended
// production setting.
type Config struct {
	// Poll is how often a node looks for what others have written; zero: 100
	// milliseconds. An eviction takes about that long, unless something calls
	// [Log.Notified]; as long as that reports everything, a node looks a tenth as often,
	// but at least once a second. Poll must be from a millisecond to a minute. Keep it
	// well below the fleet's lease, or each eviction takes a lease.
	Poll time.Duration

	// Schema is PostgreSQL's schema that has the tables. Empty: the first one on the
	// search path that has them, or else the first one. That differs between roles if
	// one has a schema of its own name, and their nodes then have two logs.
	Schema string

	// Existing makes Open fail if there are no tables, instead of creating them: for
	// nodes that may not create any.
	Existing bool
}

// ErrNotDurable is wrapped by the error of an append that would be acknowledged before
// it is durable: synchronous_commit is off, or is local, which does not wait for a
// standby (PostgreSQL), or synchronous is below FULL, or journal_mode is OFF or MEMORY
// (SQLite). Nothing was written.
var ErrNotDurable = errors.New("the database acknowledges before it has synced to disk")

// A Log is a log of package fleet in a database. [Open] makes one.
//
// It is safe for concurrent use by multiple goroutines.
type Log struct {
	db      *sql.DB
	dialect Dialect
	cfg     Config
	file    *openedFile // of SQLite; nil on PostgreSQL
	append  appendStatements
	news    string
	written bell // for followers

	mu        sync.Mutex // guards the fields below
	listeners map[string]*bell
	answers   []answer // to be sent
	hears     bool     // a notification has reported what the last look found
	sending   bool     // a goroutine is sending them
}

var _ fleetlog.Log = (*Log)(nil)

// Open opens the log in the database, and creates its tables if they are missing.
// The database remains the host's. It may be used for other things too.
func Open(ctx context.Context, db *sql.DB, dialect Dialect, cfg Config) (*Log, error) {
	if cfg.Poll == 0 {
		cfg.Poll = 100 * time.Millisecond
	}
	if cfg.Poll < time.Millisecond || cfg.Poll > time.Minute {
		return nil, fmt.Errorf("fleetsql: Config.Poll: %v is not from 1ms to 1m", cfg.Poll)
	}
	if _, err := Schema(dialect); err != nil {
		return nil, err
	}
	if strings.Trim(cfg.Schema, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || cfg.Schema != "" && dialect != PostgreSQL {
		return nil, fmt.Errorf("fleetsql: Config.Schema: %q is not a name of a-z 0-9 _, or is not for PostgreSQL", cfg.Schema)
	}
	l := &Log{db: db, dialect: dialect, cfg: cfg, listeners: make(map[string]*bell)}
	l.append, l.news = l.newAppendStatements(), l.sql(newsStatement)
	if !cfg.Existing {
		if err := l.create(ctx); err != nil {
			return nil, err
		}
	}
	if err := l.check(ctx); err != nil {
		return nil, err
	}
	return l, l.noteFile(ctx)
}

// Notified is for a host that listens to PostgreSQL's notifications: pglisten.Listen
// calls it. The log then looks at once for what the notification is about, instead of
// after [Config.Poll]; if the notification is empty, it looks for everything. Notified
// returns without waiting.
func (l *Log) Notified(payload string) {
	about, addresses, _ := strings.Cut(payload, " ")
	if about != "" && about != channelWord {
		return // of an index that shares the database
	}
	if addresses == "" {
		l.written.ring()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hears = true
	for address, b := range l.listeners {
		if about == "" || slices.Contains(strings.Fields(addresses), address) {
			b.ring()
		}
	}
}

// channelWord begins the payload of a log's notification. The addresses of answers follow
// it; without any, the notification is about messages.
const channelWord = "fleet"

// A bell wakes the goroutines that wait for it. The zero bell is ready.
type bell struct {
	mu   sync.Mutex // guards the field below
	rung chan struct{}
}

// next returns a channel that the next ring closes.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}

// rest waits for a poll's time to pass, or for a ring, and reports whether the time has
// passed.
func (l *Log) rest(ctx context.Context, rung <-chan struct{}) (passed bool, err error) {
	timer := time.NewTimer(l.poll())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-timer.C:
		return true, nil
	case <-rung:
		return false, nil
	}
}

// poll returns how long to wait until the next look. While notifications arrive, a look
// is only needed in case one is lost.
func (l *Log) poll() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.hears {
		return l.cfg.Poll
	}
	return max(l.cfg.Poll, min(10*l.cfg.Poll, time.Second))
}

// missed notes that a look has found something that no notification has reported.
func (l *Log) missed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hears = false
}

// appendStatements are those of an append, in their order.
type appendStatements struct {
	next, look, put, note, purgeAppends, purgeMessages, notify string
}

// keptAppends is how many of the last appends keep their ids in any case, and keptFor how
// long every append keeps its id.
const (
	keptAppends = 1000
	keptFor     = 10 * time.Minute
)

func (l *Log) newAppendStatements() appendStatements {
	s := appendStatements{
		// The first statement holds the row until the commit.
		next: l.sql("UPDATE svctoken_fleet_log SET rev = rev + 1 RETURNING rev, readers, {durable}"),
		look: l.sql(`SELECT (SELECT position FROM svctoken_fleet_appends WHERE id = $1),
			(SELECT position FROM svctoken_fleet_messages WHERE key = $2 AND (expires IS NULL OR expires > {now}))`),
		put: l.sql(`INSERT INTO svctoken_fleet_messages (key, position, value, deleted, id, expires)
			VALUES ($1, $2, $3, $4, $5, {now} + CAST($6 AS BIGINT)) ON CONFLICT (key) DO UPDATE SET
			position = excluded.position, value = excluded.value, deleted = excluded.deleted, id = excluded.id, expires = excluded.expires`),
		note: l.sql("INSERT INTO svctoken_fleet_appends (position, id, written) VALUES ($1, $2, {now})"),
		// A few at a time, but more than are added.
		purgeAppends: l.sql(fmt.Sprintf(`DELETE FROM svctoken_fleet_appends WHERE position IN
			(SELECT position FROM svctoken_fleet_appends WHERE position <= $1 - %d AND written < {now} - %d ORDER BY position LIMIT 4)`, keptAppends, keptFor.Milliseconds())),
		purgeMessages: l.sql(`DELETE FROM svctoken_fleet_messages WHERE key IN
			(SELECT key FROM svctoken_fleet_messages WHERE expires < {now} ORDER BY expires LIMIT 4)`),
	}
	if l.dialect == PostgreSQL {
		s.notify = "SELECT pg_notify('svctoken', $1)"
	}
	return s
}

// Append implements fleetlog.Log. The row that has the last position is locked until the
// commit.
func (l *Log) Append(ctx context.Context, entry fleetlog.Entry) (fleetlog.Position, error) {
	var pos fleetlog.Position
	err := l.write(ctx, func(q querier) (err error) {
		pos, err = l.appendIn(ctx, q, entry)
		return err
	})
	if err == nil {
		err = l.file.check() // a commit to a file that nobody else sees does not count
	}
	if err != nil {
		return 0, wrap("append", err)
	}
	l.written.ring()
	return pos, nil
}

// appendIn appends in a transaction.
func (l *Log) appendIn(ctx context.Context, q querier, entry fleetlog.Entry) (fleetlog.Position, error) {
	if err := l.checkSynchronous(ctx, q); err != nil {
		return 0, err
	}
	var pos fleetlog.Position
	var durable bool
	var readers int
	if err := q.QueryRowContext(ctx, l.append.next).Scan(&pos, &readers, &durable); err != nil {
		return 0, err
	}
	if err := checkReaders(readers); err != nil {
		return 0, err
	}
	if !durable {
		return 0, fmt.Errorf("fleetsql: append: synchronous_commit: %w", ErrNotDurable)
	}
	var before, last sql.NullInt64
	if err := q.QueryRowContext(ctx, l.append.look, entry.ID, entry.Key).Scan(&before, &last); err != nil {
		return 0, err
	}
	if before.Valid {
		// Write something even so: only a commit that writes waits until a standby has
		// everything before it. The first attempt may have ended while it waited for
		// that, and is then in the log without having been acknowledged.
		_, err := q.ExecContext(ctx, l.sql("UPDATE svctoken_fleet_log SET rev = rev - 1"))
		return fleetlog.Position(before.Int64), err
	}
	if entry.If != nil && fleetlog.Position(last.Int64) != *entry.If {
		return 0, fmt.Errorf("fleetsql: append: %w: %.60s has position %d, not %d", fleetlog.ErrConflict, entry.Key, last.Int64, *entry.If)
	}
	id := entry.ID
	if id == "" {
		id = rand.Text()
	}
	deleted, ttl := 0, sql.NullInt64{}
	if entry.Delete {
		deleted = 1
	}
	if entry.TTL > 0 {
		ttl = sql.NullInt64{Int64: entry.TTL.Milliseconds() + 2, Valid: true} // both times are cut to the millisecond
	}
	for _, step := range []struct {
		statement string
		args      []any
	}{
		{l.append.put, []any{entry.Key, int64(pos), notNull(entry.Value), deleted, id, ttl}},
		{l.append.note, []any{int64(pos), id}},
		{l.append.purgeAppends, []any{int64(pos)}},
		{l.append.purgeMessages, nil},
		{l.append.notify, []any{channelWord}},
	} {
		if step.statement == "" {
			continue
		}
		if _, err := q.ExecContext(ctx, step.statement, step.args...); err != nil {
			return 0, err
		}
	}
	return pos, nil
}

// notNull is for drivers, which make NULL of nil.
func notNull(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// checkSynchronous returns an error if SQLite would not sync a commit, or could not undo
// what a crash has left of one: only FULL and EXTRA sync, and a journal in memory is lost
// with the process.
func (l *Log) checkSynchronous(ctx context.Context, q querier) error {
	if l.dialect != SQLite {
		return nil
	}
	var level int
	var journal string
	if err := q.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&level); err != nil {
		return err
	}
	if err := q.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return err
	}
	switch {
	case level < 2:
		return fmt.Errorf("fleetsql: append: PRAGMA synchronous is %d, and must be 2, FULL: %w", level, ErrNotDurable)
	case strings.EqualFold(journal, "off"), strings.EqualFold(journal, "memory"):
		return fmt.Errorf("fleetsql: append: PRAGMA journal_mode is %s, and must be WAL: %w", journal, ErrNotDurable)
	}
	return nil
}

// Read implements fleetlog.Log. On a replica of PostgreSQL it may be old, and says so.
func (l *Log) Read(ctx context.Context, keys ...string) (fleetlog.View, error) {
	var where []string
	var args []any
	param := func(value string) string {
		args = append(args, value)
		return fmt.Sprintf("$%d", len(args))
	}
	for _, key := range keys {
		if prefix, ok := strings.CutSuffix(key, "*"); ok {
			// By bytes, the keys that begin with "x." are those from "x." up to "x/".
			where = append(where, "key >= "+param(prefix)+" AND key < "+param(strings.TrimSuffix(prefix, ".")+"/"))
		} else {
			where = append(where, "key = "+param(key))
		}
	}
	if len(where) == 0 {
		where = []string{"FALSE"}
	}
	// One statement, so that the view is of one moment.
	rows, err := l.db.QueryContext(ctx, l.sql(`SELECT l.rev, m.position, m.key, m.value, m.deleted, m.id FROM svctoken_fleet_log l
		LEFT JOIN (SELECT * FROM svctoken_fleet_messages WHERE (`+strings.Join(where, " OR ")+`) AND (expires IS NULL OR expires > {now})) m ON TRUE`), args...)
	if err != nil {
		return fleetlog.View{}, wrap("read", err)
	}
	defer rows.Close()
	view := fleetlog.View{Messages: make(map[string]fleetlog.Message)}
	for rows.Next() {
		var m storedMessage
		if err := rows.Scan(append([]any{&view.Position}, m.columns()...)...); err != nil {
			return fleetlog.View{}, wrap("read", err)
		}
		if m.position.Valid {
			view.Messages[m.key.String] = m.message()
		}
	}
	if err := rows.Err(); err != nil {
		return fleetlog.View{}, wrap("read", err)
	}
	return view, l.file.check()
}

// A storedMessage is a row of messages, all NULL if there is none.
type storedMessage struct {
	position, deleted sql.NullInt64
	key, id           sql.NullString
	value             []byte
}

func (m *storedMessage) columns() []any {
	return []any{&m.position, &m.key, &m.value, &m.deleted, &m.id}
}

func (m *storedMessage) message() fleetlog.Message {
	return fleetlog.Message{
		Position: fleetlog.Position(m.position.Int64), Key: m.key.String, Value: m.value, Deleted: m.deleted.Int64 != 0, ID: m.id.String,
	}
}
