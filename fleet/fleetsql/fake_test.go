package fleetsql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
)

// A fake is a database that knows the statements of a log: it has what a test sets, and
// notes what it is asked. Unlike a real database, it works in a bubble.
type fake struct {
	mu    sync.Mutex // guards the fields below
	asked []call
	// fails is asked before each call. The call's error is what it returns.
	fails       func(ctx context.Context, name string) error
	afterCommit func() // runs before a commit is answered
	garbles     string // the query with this name has an answer that cannot be read

	format, readers, rev int64
	uuid, server         string
	durable              bool
	synchronous          int64
	journal, path        string
	appended, last       any // what an append finds: the position of its id, and of its key
	messages             []fleetlog.Message
	sent                 [][]byte // to any address
}

// A call is what a database was asked.
type call struct {
	name string // of names, or close, or row of and a name
	text string
	args []any
	at   time.Time
}

// names are those that tests use for statements, by what they begin with.
var names = []struct{ begins, name string }{
	{"SELECT pg_advisory_xact_lock(hashtext('svctoken_fleet'))", "lock"},
	{"CREATE ", "create"},
	{"INSERT INTO svctoken_fleet_log ", "create"},
	{"SELECT format, readers FROM svctoken_fleet_log", "format"},
	{"SELECT file FROM pragma_database_list WHERE name = 'main'", "file"},
	{"PRAGMA synchronous", "synchronous"},
	{"PRAGMA journal_mode", "journal"},
	{"UPDATE svctoken_fleet_log SET rev = rev + 1 RETURNING ", "next"},
	{"SELECT (SELECT position FROM svctoken_fleet_appends ", "look"},
	{"UPDATE svctoken_fleet_log SET rev = rev - 1", "again"},
	{"INSERT INTO svctoken_fleet_messages ", "put"},
	{"INSERT INTO svctoken_fleet_appends ", "note"},
	{"DELETE FROM svctoken_fleet_appends ", "purge appends"},
	{"DELETE FROM svctoken_fleet_messages ", "purge messages"},
	{"SELECT pg_notify('svctoken', $1)", "notify"},
	{"SELECT l.rev, m.position", "read"},
	{"SELECT l.uuid, l.readers", "news"},
	{"SELECT count(*) FROM svctoken_fleet_sent ", "count"},
	{"DELETE FROM svctoken_fleet_sent WHERE n IN ", "purge sent"},
	{"DELETE FROM svctoken_fleet_sent WHERE address ", "take"},
	{"INSERT INTO svctoken_fleet_sent ", "send"},
	{"BEGIN IMMEDIATE", "begin"},
	{"COMMIT", "commit"},
	{"ROLLBACK", "rollback"},
}

func newFake() *fake {
	return &fake{format: 1, readers: 1, uuid: "log", server: "server", durable: true, synchronous: 2, journal: "wal"}
}

// db returns a database that is the fake.
func (f *fake) db(t testing.TB) *sql.DB {
	db := sql.OpenDB(f)
	t.Cleanup(func() { db.Close() })
	return db
}

// open opens a log on the fake, and forgets what that asked.
func (f *fake) open(t testing.TB, dialect fleetsql.Dialect, cfg fleetsql.Config) *fleetsql.Log {
	t.Helper()
	l, err := fleetsql.Open(t.Context(), f.db(t), dialect, cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.calls()
	return l
}

// following returns a follower of the log.
func following(t testing.TB, l *fleetsql.Log, from fleetlog.Position) fleetlog.Follower {
	t.Helper()
	f, err := l.Follow(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// fail makes the call of this name fail.
func (f *fake) fail(name string, err error) {
	f.set(func() {
		f.fails = func(_ context.Context, asked string) error {
			if asked == name {
				return err
			}
			return nil
		}
	})
}

// hang makes the call of this name take until its context ends.
func (f *fake) hang(name string) {
	f.set(func() {
		f.fails = func(ctx context.Context, asked string) error {
			if asked == name {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
	})
}

// calls returns what the fake was asked since the last time, of these names or of all.
func (f *fake) calls(of ...string) (all []call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.asked {
		if len(of) == 0 || strings.Contains(" "+strings.Join(of, " ")+" ", " "+c.name+" ") {
			all = append(all, c)
		}
	}
	f.asked = nil
	return all
}

// await waits until a call of this name was made.
func (f *fake) await(t testing.TB, name string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); <-time.After(time.Millisecond) {
		found := false
		f.set(func() {
			for _, c := range f.asked {
				found = found || c.name == name
			}
		})
		if found {
			return
		}
	}
	t.Fatalf("no call of %s", name)
}

// named returns the names of calls, without those of rows.
func named(calls []call) string {
	var all []string
	for _, c := range calls {
		if !strings.HasPrefix(c.name, "row ") {
			all = append(all, c.name)
		}
	}
	return strings.Join(all, ", ")
}

// ask notes a call, and returns its error.
func (f *fake) ask(ctx context.Context, c call) error {
	c.at = time.Now()
	f.mu.Lock()
	f.asked = append(f.asked, c)
	fails := f.fails
	f.mu.Unlock()
	if fails == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	return fails(ctx, c.name)
}

// statement notes a statement.
func (f *fake) statement(ctx context.Context, text string, args []driver.NamedValue) (name string, err error) {
	c := call{name: nameOf(text), text: text}
	if c.name == "" {
		return "", fmt.Errorf("not a statement: %s", text)
	}
	for _, arg := range args {
		c.args = append(c.args, arg.Value)
	}
	return c.name, f.ask(ctx, c)
}

// nameOf returns the name of a statement, without the schema and comments before it.
func nameOf(text string) string {
	text = strings.ReplaceAll(strings.TrimSpace(text), `"shared".`, "")
	for strings.HasPrefix(text, "--") {
		_, text, _ = strings.Cut(text, "\n")
	}
	for _, n := range names {
		if strings.HasPrefix(text, n.begins) {
			return n.name
		}
	}
	return ""
}

func (f *fake) Connect(context.Context) (driver.Conn, error) { return fakeConn{f}, nil }
func (f *fake) Driver() driver.Driver                        { return nil }

type fakeConn struct{ f *fake }

func (c fakeConn) Prepare(string) (driver.Stmt, error) { return nil, driver.ErrSkip }
func (c fakeConn) Begin() (driver.Tx, error)           { return nil, driver.ErrSkip }

func (c fakeConn) Close() error {
	return c.f.ask(context.Background(), call{name: "close"})
}

func (c fakeConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	return fakeTx(c), c.f.ask(ctx, call{name: "begin", text: sql.IsolationLevel(opts.Isolation).String()})
}

func (c fakeConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	name, err := c.f.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	switch name {
	case "commit":
		c.f.committed()
	case "send":
		c.f.set(func() {
			for i := 1; i < len(args); i += 2 {
				c.f.sent = append(c.f.sent, args[i].Value.([]byte))
			}
		})
	}
	return driver.RowsAffected(1), nil
}

func (f *fake) committed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.afterCommit != nil {
		f.afterCommit()
	}
}

type fakeTx struct{ f *fake }

func (t fakeTx) Rollback() error {
	return t.f.ask(context.Background(), call{name: "rollback"})
}

func (t fakeTx) Commit() error {
	err := t.f.ask(context.Background(), call{name: "commit"})
	t.f.committed()
	return err
}

func (c fakeConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	name, err := c.f.statement(ctx, query, args)
	if err != nil {
		return nil, err
	}
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	rows, err := c.f.answer(name, args)
	if err != nil {
		return nil, err
	}
	if name == c.f.garbles {
		rows[0][0] = struct{}{}
	}
	return &fakeRows{c.f, ctx, name, len(rows[0]), rows}, nil
}

type row = []driver.Value

// answer returns the rows of the answer to a query, at least one. It needs the mutex.
func (f *fake) answer(name string, args []driver.NamedValue) ([]row, error) {
	switch name {
	case "format":
		return []row{{f.format, f.readers}}, nil
	case "file":
		return []row{{f.path}}, nil
	case "synchronous":
		return []row{{f.synchronous}}, nil
	case "journal":
		return []row{{f.journal}}, nil
	case "next":
		return []row{{f.rev + 1, f.readers, f.durable}}, nil
	case "look":
		return []row{{f.appended, f.last}}, nil
	case "count":
		return []row{{int64(len(f.sent))}}, nil
	case "take":
		rows := []row{}
		for _, data := range f.sent {
			rows = append(rows, row{data})
		}
		f.sent = nil
		return rows, nil
	case "read":
		return f.joined(row{f.rev}, 0), nil
	case "news":
		if len(args) != 2 {
			return nil, fmt.Errorf("news take two arguments, not %d", len(args))
		}
		return f.joined(row{f.uuid, f.readers, f.server, f.rev, idAt(f.rev), idAt(args[0].Value)}, args[1].Value.(int64)), nil
	default:
		return nil, fmt.Errorf("%s is not a query", name)
	}
}

// idAt returns the id of the append at a position.
func idAt(position any) driver.Value {
	if position == int64(0) {
		return nil
	}
	return fmt.Sprint("id", position)
}

// joined returns rows that begin with these columns, and have the messages after a position, or
// else no message.
func (f *fake) joined(begin row, after int64) (rows []row) {
	for _, m := range f.messages {
		if int64(m.Position) <= after {
			continue
		}
		deleted := int64(0)
		if m.Deleted {
			deleted = 1
		}
		rows = append(rows, append(begin[:len(begin):len(begin)], int64(m.Position), m.Key, m.Value, deleted, m.ID))
	}
	if rows == nil {
		rows = []row{append(begin, nil, nil, nil, nil, nil)}
	}
	return rows
}

// write puts a message at the next position.
func (f *fake) write(key string) fleetlog.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rev++
	m := fleetlog.Message{Position: fleetlog.Position(f.rev), Key: key, Value: []byte("value"), ID: fmt.Sprint("id", f.rev)}
	f.messages = append(f.messages, m)
	return m
}

type fakeRows struct {
	f       *fake
	ctx     context.Context
	name    string
	columns int
	left    []row
}

func (r *fakeRows) Columns() []string { return make([]string, r.columns) }
func (r *fakeRows) Close() error      { return nil }

func (r *fakeRows) Next(dest []driver.Value) error {
	if err := r.f.ask(r.ctx, call{name: "row of " + r.name}); err != nil {
		return err
	}
	if len(r.left) == 0 {
		return io.EOF
	}
	copy(dest, r.left[0])
	r.left = r.left[1:]
	return nil
}
