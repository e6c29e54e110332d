package sqlindex_test

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
)

// A fake is a database that knows the queries of an index: it has the document and the
// rev that a test sets. Unlike a real database, it works in a bubble.
type fake struct {
	mu          sync.Mutex // guards the fields below
	err         func(args []driver.NamedValue) error
	rev         int64
	format      int64
	readableBy  int64
	replica     bool
	triggers    int64  // in force
	journal     string // of SQLite
	commitErr   error  // of each commit
	afterCommit func() // runs before a commit is answered
	hash        string
	polls       int
	delay       time.Duration // of each query

	changed []string // tokens that a poll behind rev says have changed
	kind    string   // of these changes, if it is not token

	rows    [][]driver.Value // the answer to each query, if there is one
	rowsErr error            // what comes after it
	asked   []string         // statements since it was emptied, with their parameters

	prepared []string // queries, once for each time that one was prepared
}

// openFake returns an index on the fake as if it were PostgreSQL.
func openFake(t testing.TB, cfg sqlindex.Config) (*fake, *sqlindex.Index) {
	t.Helper()
	return openFakeAs(t, sqlindex.PostgreSQL, cfg)
}

func openFakeAs(t testing.TB, dialect sqlindex.Dialect, cfg sqlindex.Config) (*fake, *sqlindex.Index) {
	t.Helper()
	f := &fake{rev: 1, format: 4, readableBy: 4, triggers: 6, journal: "wal"}
	db := sql.OpenDB(f)
	t.Cleanup(func() { db.Close() })
	ix, err := sqlindex.New(db, dialect, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ix.Close)
	return f, ix
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fake) fail(err error) {
	f.set(func() {
		f.err = nil
		if err != nil {
			f.err = failing(err)
		}
	})
}

func failing(err error) func([]driver.NamedValue) error {
	return func([]driver.NamedValue) error { return err }
}

func (f *fake) Connect(context.Context) (driver.Conn, error) { return fakeConn{f}, nil }
func (f *fake) Driver() driver.Driver                        { return nil }

type fakeConn struct{ *fake }

func (c fakeConn) Close() error              { return nil }
func (c fakeConn) Begin() (driver.Tx, error) { return fakeTx(c), nil }

func (c fakeConn) Prepare(query string) (driver.Stmt, error) {
	c.set(func() { c.prepared = append(c.prepared, query) })
	return fakeStmt{c.fake, query}, nil
}

type fakeTx struct{ *fake }

func (t fakeTx) Rollback() error { return nil }
func (t fakeTx) Commit() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.afterCommit != nil {
		t.afterCommit()
	}
	return t.commitErr
}

type fakeStmt struct {
	*fake
	query string
}

func (s fakeStmt) Close() error                               { return nil }
func (s fakeStmt) NumInput() int                              { return -1 }
func (s fakeStmt) Exec([]driver.Value) (driver.Result, error) { return nil, driver.ErrSkip }
func (s fakeStmt) Query([]driver.Value) (driver.Rows, error)  { return nil, driver.ErrSkip }

func (s fakeStmt) ExecContext(_ context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(args)
	if s.err != nil {
		if err := s.err(args); err != nil {
			return nil, err
		}
	}
	if strings.Contains(s.query, "svctoken_tokens") || strings.Contains(s.query, "rev + 1") {
		s.rev++
	}
	return driver.RowsAffected(1), nil
}

func (s fakeStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	var delay time.Duration
	s.set(func() { delay = s.delay })
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(args)
	lists, glances := strings.Contains(s.query, "svctoken_changes"), strings.Contains(s.query, "JOIN svctoken_revs b")
	if glances && !lists || lists && args[0].Value == int64(0) { // the query after a glance belongs to the same poll
		s.polls++
	}
	if s.err != nil {
		if err := s.err(args); err != nil {
			return nil, err
		}
	}
	switch {
	case s.query == "PRAGMA database_list":
		return &fakeRows{rows: [][]driver.Value{{int64(0), "main", ""}}}, nil
	case s.query == "PRAGMA journal_mode":
		return &fakeRows{rows: [][]driver.Value{{s.journal}}}, nil
	case s.query == "PRAGMA data_version":
		return &fakeRows{rows: [][]driver.Value{{s.rev}}}, nil
	case s.rows != nil:
		return &fakeRows{s.rows, s.rowsErr}, nil
	case lists && len(s.changed) > 0:
		rows := &fakeRows{}
		for _, name := range s.changed {
			rows.rows = append(rows.rows, append(s.list(), cmp.Or(s.kind, "token"), "elastic", "fleet-server", name))
		}
		return rows, nil
	case lists:
		return &fakeRows{rows: [][]driver.Value{append(s.list(), nil, nil, nil, nil)}}, nil
	case glances:
		return &fakeRows{rows: [][]driver.Value{{"uuid", s.format, s.readableBy, s.rev, int64(0), "mark", s.replica, s.triggers}}}, nil
	}
	row := []driver.Value{"uuid", s.format, s.readableBy, s.rev, s.replica}
	if s.hash == "" {
		row = append(row, make([]driver.Value, 9)...)
	} else {
		row = append(row, int64(1), "me", true, nil, nil, "", nil, s.hash, "")
	}
	return &fakeRows{rows: [][]driver.Value{row}}, nil
}

// list has the columns with which each row of the list of changes begins.
func (f *fake) list() []driver.Value {
	return []driver.Value{"uuid", f.format, f.readableBy, f.rev, int64(0), "mark", "mark", f.replica, f.triggers}
}

// note notes a statement. It needs the mutex.
func (s fakeStmt) note(args []driver.NamedValue) {
	var text strings.Builder
	text.WriteString(strings.Join(strings.Fields(s.query), " "))
	for _, arg := range args {
		fmt.Fprintf(&text, " | %v", arg.Value)
	}
	s.asked = append(s.asked, text.String())
}

type fakeRows struct {
	rows [][]driver.Value
	err  error // after the last
}

func (r *fakeRows) Columns() []string {
	if len(r.rows) == 0 {
		return nil
	}
	return make([]string, len(r.rows[0]))
}
func (r *fakeRows) Close() error { return nil }
func (r *fakeRows) Next(dest []driver.Value) error {
	if len(r.rows) == 0 {
		return cmp.Or(r.err, io.EOF)
	}
	copy(dest, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}
