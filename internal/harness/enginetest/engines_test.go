package enginetest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// server is the PostgreSQL that the tests share, each with a schema of its own.
var server = sync.OnceValues(func() (*pgserver.Server, error) { return pgserver.Start("fsync = off") })

func TestMain(m *testing.M) {
	if os.Getenv(otherProcess) != "" {
		os.Exit(runOtherProcess())
	}
	if os.Getenv(startsServer) != "" {
		os.Exit(startServer())
	}
	code := m.Run()
	if s, err := server(); err == nil {
		s.Close()
	}
	os.Exit(code)
}

// A database is an empty database of an engine, or an empty schema of one.
type database struct {
	kind   sqlindex.Dialect
	driver string
	dsn    string
	schema string // of PostgreSQL

	target *atomic.Pointer[pgx.ConnConfig] // where to connect, if not to dsn
}

// postgres returns a new schema of the shared server.
func postgres(t testing.TB) database {
	t.Helper()
	s, err := server()
	pgserver.Need(t, err)
	return newSchema(t, s)
}

var schemas atomic.Int64

func newSchema(t testing.TB, s *pgserver.Server) database {
	t.Helper()
	d := database{sqlindex.PostgreSQL, "pgx", s.URL("postgres"), fmt.Sprintf("test%d", schemas.Add(1)), nil}
	execSQL(t, d.open(t), "CREATE SCHEMA "+d.schema)
	d.dsn += "&search_path=" + d.schema
	return d
}

// sqlite returns a new file.
func sqlite(t testing.TB) database {
	return database{sqlindex.SQLite, "sqlite3", sqliteDSN(filepath.Join(t.TempDir(), "index.db")), "", nil}
}

func sqliteDSN(path string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)"
}

// each runs a test on each engine, in an empty database whose schema is up to date.
func each(t *testing.T, test func(*testing.T, database)) {
	for _, engine := range []struct {
		name string
		make func(testing.TB) database
	}{{"SQLite", sqlite}, {"PostgreSQL", postgres}} {
		t.Run(engine.name, func(t *testing.T) {
			d := engine.make(t)
			d.migrate(t)
			test(t, d)
		})
	}
}

func (d database) open(t testing.TB) *sql.DB {
	t.Helper()
	if d.target != nil {
		db := sql.OpenDB(switcher(d))
		db.SetMaxIdleConns(0) // each statement connects to the present target
		t.Cleanup(func() { db.Close() })
		return db
	}
	db, err := sql.Open(d.driver, d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(16) // on PostgreSQL, opening a connection takes longer than a statement
	t.Cleanup(func() { db.Close() })
	return db
}

// A switcher connects to wherever the database is at present.
type switcher database

func (s switcher) Connect(ctx context.Context) (driver.Conn, error) {
	return stdlib.GetConnector(*s.target.Load()).Connect(ctx)
}

func (s switcher) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// index returns an index that polls only on request, unless cfg says otherwise.
func (d database) index(t testing.TB, db *sql.DB, cfg sqlindex.Config) *sqlindex.Index {
	t.Helper()
	if cfg.Poll == 0 {
		cfg.Poll = -1
	}
	ix, err := sqlindex.New(db, d.kind, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ix.Close)
	return ix
}

func (d database) migrate(t testing.TB) {
	t.Helper()
	if err := d.index(t, d.open(t), sqlindex.Config{}).Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// A node is what a process would have: a handle, an index and a cache of its own.
type node struct {
	db     *sql.DB
	index  *sqlindex.Index
	source *indexsource.Source
	cache  *tokencache.Cache[indexsource.Document]
}

// node returns a new node which has polled once.
func (d database) node(t testing.TB, cfg sqlindex.Config) *node {
	t.Helper()
	return d.nodeOf(t, d.open(t), cfg)
}

// nodeOf returns a new node with this handle, which has polled once.
func (d database) nodeOf(t testing.TB, db *sql.DB, cfg sqlindex.Config) *node {
	t.Helper()
	n := &node{db: db}
	n.index = d.index(t, n.db, cfg)
	n.source = indexsource.New(n.index)
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	var err error
	if n.cache, err = tokencache.New(group, "index", n.source, tokencache.Config{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.cache.Close)
	n.poll(t)
	return n
}

func (n *node) poll(t testing.TB) {
	t.Helper()
	if err := n.index.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// ask returns "confirmed", "refused", or the error.
func (n *node) ask(ctx context.Context, token tokencache.Token) string {
	_, err := n.cache.AuthenticateToken(ctx, token)
	switch {
	case err == nil:
		return "confirmed"
	case errors.Is(err, tokencache.ErrRefused):
		return "refused"
	default:
		return err.Error()
	}
}

func (n *node) want(t testing.TB, token tokencache.Token, want string) {
	t.Helper()
	if got := n.ask(t.Context(), token); got != want {
		t.Errorf("%v: got %q, want %q", token, got, want)
	}
}

// await asks until the answer is the one that is wanted.
func (n *node) await(t testing.TB, token tokencache.Token, want string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		if got := n.ask(t.Context(), token); got == want {
			return
		} else if time.Since(began) > 30*time.Second {
			t.Fatalf("%v: got %q, want %q; the index: %+v", token, got, want, n.index.Status())
		}
	}
}

// newToken returns a token that is in no index.
func newToken(t testing.TB, name string) tokencache.Token {
	t.Helper()
	token, err := tokencache.NewToken(fleet.TokenID(name), tokencache.GenerateSecret())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// hashOf returns the hash of the token's secret as an index keeps it.
func hashOf(token tokencache.Token) string { return tokenhash.New(token.Secret()).Reveal() }

func (n *node) create(t testing.TB, name string) tokencache.Token {
	t.Helper()
	token, err := n.index.Create(t.Context(), fleet.TokenID(name), "operator")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

var fleet = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

func execSQL(t testing.TB, db interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
