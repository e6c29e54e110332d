package enginetest

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
	_ "modernc.org/sqlite"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
	"github.com/svctoken/svctoken/tokencache"
)

// postgresDrivers are those that hosts use: pgx closes the connection of a statement whose
// context ends, or cancels it in the server, as lib/pq does.
var postgresDrivers = map[string]func(dsn string) (*sql.DB, error){
	"pgx":    func(dsn string) (*sql.DB, error) { return sql.Open("pgx", dsn) },
	"lib/pq": func(dsn string) (*sql.DB, error) { return sql.Open("postgres", dsn) },
	"pgx that cancels": func(dsn string) (*sql.DB, error) {
		cfg, err := pgx.ParseConfig(dsn)
		if err != nil {
			return nil, err
		}
		cfg.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
			return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, CancelRequestDelay: 0, DeadlineDelay: 10 * time.Second}
		}
		return stdlib.OpenDB(*cfg), nil
	},
}

func opened(t *testing.T, open func(string) (*sql.DB, error), dsn string) *sql.DB {
	t.Helper()
	db, err := open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(8)
	t.Cleanup(func() { db.Close() })
	return db
}

// TestDrivers: a token's life, with each driver, on two nodes.
func TestDrivers(t *testing.T) {
	for name, open := range postgresDrivers {
		t.Run(name, func(t *testing.T) {
			d := postgres(t)
			d.migrate(t)
			lifeWith(t, d, opened(t, open, d.dsn), opened(t, open, d.dsn))
		})
	}
	t.Run("modernc", func(t *testing.T) {
		d := sqlite(t)
		d.migrate(t) // with the other driver
		open := func(dsn string) (*sql.DB, error) { return sql.Open("sqlite", dsn) }
		lifeWith(t, d, opened(t, open, d.dsn), d.open(t))
	})
}

func lifeWith(t *testing.T, d database, dbs ...*sql.DB) {
	t.Helper()
	a, b := d.nodeOf(t, dbs[0], sqlindex.Config{}), d.nodeOf(t, dbs[1], sqlindex.Config{})
	for range 3 { // by then the driver has prepared the statements
		before := a.create(t, "token1")
		b.poll(t)
		b.want(t, before, "confirmed")
		after, err := a.index.Rotate(t.Context(), before.ID(), time.Hour, "me")
		if err != nil {
			t.Fatal(err)
		}
		b.poll(t)
		for _, n := range []*node{a, b} {
			n.want(t, before, "confirmed")
			n.want(t, after, "confirmed")
		}
		if err := a.index.NoteUses(t.Context(), map[tokencache.TokenID]time.Time{before.ID(): time.Now()}); err != nil {
			t.Fatal(err)
		}
		if uses, err := b.index.LastUses(t.Context(), fleet); err != nil || len(uses) != 1 {
			t.Errorf("got %v, %v", uses, err)
		}
		if _, err := a.index.Evictor(tokencache.NewGroup(tokencache.GroupConfig{})).Evict(t.Context(), "elastic", "fleet-server", "*"); err != nil {
			t.Error(err)
		}
		if err := b.index.Delete(t.Context(), before.ID()); err != nil {
			t.Fatal(err)
		}
		a.poll(t)
		for _, n := range []*node{a, b} {
			n.want(t, after, "refused")
		}
		if events, err := a.index.History(t.Context(), fleet, "token1", 3); err != nil || len(events) != 3 || events[0].What != "deleted" {
			t.Errorf("got %v, %v", events, err)
		}
	}
}

// TestStandbyAway: without the synchronous standby no change is reported as done, with
// any driver, even though PostgreSQL answers with success when the wait is cancelled. The
// same holds for a repeated change that finds nothing to do.
func TestStandbyAway(t *testing.T) {
	s, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	defer s.Close()
	d := newSchema(t, s)
	d.migrate(t)
	admin := d.open(t)
	n := d.node(t, sqlindex.Config{})
	standby := func(name string) { t.Helper(); setStandby(t, d, admin, name) }
	for name, open := range postgresDrivers {
		t.Run(name, func(t *testing.T) {
			defer standby("")
			ix := d.index(t, opened(t, open, d.dsn), sqlindex.Config{})
			token := n.create(t, "token1")
			standby("nobody")
			for attempt := range 2 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				err := ix.Delete(ctx, token.ID())
				cancel()
				if err == nil || errors.Is(err, tokencache.ErrNotFound) || !errors.Is(err, sqlindex.ErrUnconfirmed) {
					t.Errorf("attempt %d: got %v, want that it may be in force or not", attempt, err)
				}
			}
			standby("")
			if err := ix.Delete(t.Context(), token.ID()); err != nil && !errors.Is(err, tokencache.ErrNotFound) {
				t.Errorf("with the standby: got %v", err)
			}
		})
	}
}

// setStandby sets the standby that commits wait for.
func setStandby(t *testing.T, d database, admin *sql.DB, name string) {
	t.Helper()
	execSQL(t, admin, "ALTER SYSTEM SET synchronous_standby_names = '"+name+"'")
	execSQL(t, admin, "SELECT pg_reload_conf()")
	for began := time.Now(); query(t, d, "SHOW synchronous_standby_names") != name && time.Since(began) < 10*time.Second; {
		time.Sleep(10 * time.Millisecond)
	}
}

// TestStatementTimeout: a host's timeout for statements does not end the wait for the
// standby, after which PostgreSQL would answer with success: the statement's time has
// ended by then.
func TestStatementTimeout(t *testing.T) {
	s, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	defer s.Close()
	d := newSchema(t, s)
	d.migrate(t)
	admin := d.open(t)
	ix := d.index(t, d.open(t), sqlindex.Config{})
	token, err := ix.Create(t.Context(), fleet.TokenID("token1"), "me")
	if err != nil {
		t.Fatal(err)
	}
	execSQL(t, admin, "ALTER ROLE postgres SET statement_timeout = 300") // of sessions from now on
	setStandby(t, d, admin, "nobody")
	late := d.index(t, d.open(t), sqlindex.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := late.Delete(ctx, token.ID()); !errors.Is(err, sqlindex.ErrUnconfirmed) {
		t.Errorf("without the standby: got %v", err)
	}
}

// TestPromotedStandby: the synchronous standby is promoted, and nobody has stopped the
// old primary. A change on the old primary is not reported as done, with any driver; one
// on the new primary is, and holds there.
func TestPromotedStandby(t *testing.T) {
	for name, open := range postgresDrivers {
		t.Run(name, func(t *testing.T) {
			primary, err := pgserver.Start("fsync = off", "max_connections = 50")
			pgserver.Need(t, err)
			defer primary.Close()
			d := newSchema(t, primary)
			d.migrate(t)
			old := d.index(t, opened(t, open, d.dsn), sqlindex.Config{})
			standby, err := primary.Replica()
			if err != nil {
				t.Fatal(err)
			}
			defer standby.Close()
			setStandby(t, d, d.open(t), "*")
			token, err := old.Create(t.Context(), fleet.TokenID("token1"), "me")
			for err == nil && query(t, d, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == "0" {
				time.Sleep(10 * time.Millisecond)
			}
			if err != nil || standby.Promote() != nil {
				t.Fatal(err)
			}
			for name, do := range operations(old) {
				if !changes[name] {
					continue
				}
				ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
				if err := do(ctx); err == nil {
					t.Errorf("%s on the old primary is reported as done", name)
				}
				cancel()
			}
			at := d
			at.dsn = strings.Replace(d.dsn, primary.URL("postgres"), standby.URL("postgres"), 1)
			n := at.nodeOf(t, opened(t, open, at.dsn), sqlindex.Config{})
			n.want(t, token, "confirmed")
			if err := n.index.Delete(t.Context(), token.ID()); err != nil {
				t.Error(err)
			}
			n.want(t, token, "refused")
		})
	}
}
