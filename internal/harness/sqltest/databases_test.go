package sqltest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
)

// server is the PostgreSQL that the tests share, each with a schema of its own.
var server = sync.OnceValues(func() (*pgserver.Server, error) { return pgserver.Start("fsync = off") })

func TestMain(m *testing.M) {
	code := m.Run()
	if s, err := server(); err == nil {
		s.Close()
	}
	os.Exit(code)
}

// A database is an empty database of SQLite, or an empty schema of PostgreSQL.
type database struct {
	dialect fleetsql.Dialect
	driver  string // of drivers
	dsn     string
	path    string // of SQLite's file
	poll    time.Duration
}

func sqlite(t testing.TB) database {
	path := filepath.Join(t.TempDir(), "fleet.db")
	return database{fleetsql.SQLite, "ncruces", sqliteDSN(path), path, 20 * time.Millisecond}
}

func sqliteDSN(path string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
}

var schemas atomic.Int64

func postgres(t testing.TB) database {
	t.Helper()
	s, err := server()
	pgserver.Need(t, err)
	return newSchema(t, s)
}

func newSchema(t testing.TB, s *pgserver.Server) database {
	t.Helper()
	d := database{dialect: fleetsql.PostgreSQL, driver: "pgx", dsn: s.URL("postgres"), poll: 20 * time.Millisecond}
	schema := fmt.Sprintf("fleet%d", schemas.Add(1))
	execSQL(t, d.open(t, nil), "CREATE SCHEMA "+schema)
	d.dsn += "&search_path=" + schema
	return d
}

// each runs a test on SQLite and on PostgreSQL.
func each(t *testing.T, test func(*testing.T, database)) {
	t.Run("SQLite", func(t *testing.T) { test(t, sqlite(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, postgres(t)) })
}

// with returns the database, to be opened with another driver.
func (d database) with(driver string) database {
	d.driver = driver
	return d
}

// open opens the database, on PostgreSQL through the gate, if there is one.
func (d database) open(t testing.TB, g *gate) *sql.DB {
	t.Helper()
	db := sql.OpenDB(d.connector(t, g))
	t.Cleanup(func() { db.Close() })
	return db
}

func (d database) connector(t testing.TB, g *gate) driver.Connector {
	t.Helper()
	c, err := drivers[d.driver](d.dsn, g)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A node is a log, and the gate between it and its database.
type node struct {
	*fleetsql.Log
	db   *sql.DB
	gate *gate
}

func (d database) connect(t testing.TB) *node {
	t.Helper()
	g := newGate()
	db := d.open(t, g)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, err := fleetsql.Open(ctx, db, d.dialect, fleetsql.Config{Poll: d.poll})
	if err != nil {
		t.Fatal(err)
	}
	return &node{e, db, g}
}

// bench returns the suite's bench. SQLite's file cannot be cut off, and has no server.
func (d database) bench(t *testing.T) fleettest.Bench {
	b := fleettest.Bench{
		Connect: func(t *testing.T) fleetlog.Log { return d.connect(t) },
		Recreate: func() {
			db := d.open(t, nil)
			d.drop(t, db)
			if _, err := fleetsql.Open(t.Context(), db, d.dialect, fleetsql.Config{}); err != nil {
				t.Fatal(err)
			}
		},
	}
	// lib/pq waits for the answer to BEGIN though its context has ended: docs/sql-operations.md.
	if d.dialect == fleetsql.PostgreSQL && d.driver != "lib_pq" {
		b.Cut = func(e fleetlog.Log) { e.(*node).gate.cut(true, true) }
		b.Heal = func(e fleetlog.Log) { e.(*node).gate.heal() }
	}
	return b
}

func (d database) drop(t testing.TB, db *sql.DB) {
	for _, table := range []string{"log", "messages", "appends", "sent"} {
		execSQL(t, db, "DROP TABLE svctoken_fleet_"+table)
	}
}

func execSQL(t testing.TB, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
