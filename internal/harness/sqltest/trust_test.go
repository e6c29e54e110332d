package sqltest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
)

func openLog(t testing.TB, db *sql.DB, dialect fleetsql.Dialect, cfg fleetsql.Config) *fleetsql.Log {
	t.Helper()
	l, err := fleetsql.Open(t.Context(), db, dialect, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestSchema: if the host names PostgreSQL's schema, a role's search path does not lead
// to another log.
func TestSchema(t *testing.T) {
	d := postgres(t)
	execSQL(t, d.open(t, nil), "CREATE SCHEMA shared_by_all")
	t.Cleanup(func() {
		if db, err := sql.Open("pgx", d.dsn); err == nil {
			db.Exec("DROP SCHEMA shared_by_all CASCADE")
			db.Close()
		}
	})
	a := openLog(t, d.open(t, nil), d.dialect, fleetsql.Config{Schema: "shared_by_all", Poll: d.poll})
	other := postgres(t) // with another search path
	b := openLog(t, other.open(t, nil), d.dialect, fleetsql.Config{Schema: "shared_by_all", Existing: true, Poll: d.poll})
	pos := appended(t, a, fleetlog.Entry{Key: "doc.a.b.c", ID: "1", Value: []byte("x")})
	if view, err := b.Read(t.Context(), "doc.a.b.c"); err != nil || view.Messages["doc.a.b.c"].Position != pos {
		t.Errorf("got %+v, %v", view, err)
	}
	if m, err := next(t, following(t, b, pos)); err != nil || m.Key != "doc.a.b.c" {
		t.Errorf("got %+v, %v", m, err)
	}
	if again := appended(t, b, fleetlog.Entry{Key: "doc.a.b.c", ID: "1"}); again != pos {
		t.Errorf("repeated: position %d, want %d", again, pos)
	}
	for _, name := range []string{`x"; DROP TABLE y; --`, "A", "a.b"} {
		if _, err := fleetsql.Open(t.Context(), d.open(t, nil), d.dialect, fleetsql.Config{Schema: name}); err == nil || !strings.Contains(err.Error(), "Config.Schema") {
			t.Errorf("schema %q: %v", name, err)
		}
	}
	lite := sqlite(t)
	if _, err := fleetsql.Open(t.Context(), lite.open(t, nil), lite.dialect, fleetsql.Config{Schema: "x"}); err == nil {
		t.Error("SQLite with a schema")
	}
}

// TestTimeZone: the identity of the server does not depend on the session.
func TestTimeZone(t *testing.T) {
	d := postgres(t)
	e := d.connect(t)
	e.db.SetMaxOpenConns(1)
	f := following(t, e, appended(t, e, fleetlog.Entry{Key: "start", ID: "start"}))
	if _, err := next(t, f); err != nil {
		t.Fatal(err)
	}
	for i, zone := range []string{"Asia/Tokyo", "America/New_York", "UTC"} {
		execSQL(t, e.db, "SET TIME ZONE '"+zone+"'")
		execSQL(t, e.db, fmt.Sprint("SET extra_float_digits = ", i))
		appended(t, e, fleetlog.Entry{Key: "note.x", ID: zone})
		if _, err := next(t, f); err != nil {
			t.Errorf("a session in %s: %v", zone, err)
		}
	}
}

// TestLaterSchema: while a later version of the package lets this one use the tables,
// everything goes on. Once it does not, nothing is written or followed.
func TestLaterSchema(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		e := d.connect(t)
		pos := appended(t, e, fleetlog.Entry{Key: "start", ID: "start"})
		f := following(t, e, pos+1)
		execSQL(t, e.db, "UPDATE svctoken_fleet_log SET format = format + 1")
		if d.connect(t); t.Failed() {
			return
		}
		appended(t, e, fleetlog.Entry{Key: "note.x", ID: "1"})
		if _, err := next(t, f); err != nil {
			t.Fatalf("a later schema that this version can use: %v", err)
		}
		execSQL(t, e.db, "UPDATE svctoken_fleet_log SET readers = format")
		if _, err := e.Append(t.Context(), fleetlog.Entry{Key: "note.x", ID: "2"}); !errors.Is(err, fleetsql.ErrFormat) {
			t.Errorf("append: %v", err)
		}
		if _, err := next(t, f); !errors.Is(err, fleetsql.ErrFormat) {
			t.Errorf("follow: %v", err)
		}
		if _, err := fleetsql.Open(t.Context(), e.db, d.dialect, fleetsql.Config{Existing: true}); !errors.Is(err, fleetsql.ErrFormat) {
			t.Errorf("open: %v", err)
		}
		execSQL(t, e.db, "UPDATE svctoken_fleet_log SET format = 0, readers = 0")
		if _, err := fleetsql.Open(t.Context(), e.db, d.dialect, fleetsql.Config{Existing: true}); !errors.Is(err, fleetsql.ErrFormat) {
			t.Errorf("open an earlier schema: %v", err)
		}
	})
}

// TestJournalInMemory: a journal that would be lost in a crash is refused.
func TestJournalInMemory(t *testing.T) {
	for mode, want := range map[string]error{
		"OFF": fleetsql.ErrNotDurable, "MEMORY": fleetsql.ErrNotDurable, "WAL": nil, "DELETE": nil, "TRUNCATE": nil, "PERSIST": nil,
	} {
		t.Run(mode, func(t *testing.T) {
			d := sqlite(t)
			d.dsn = strings.Replace(d.dsn, "journal_mode(WAL)", "journal_mode("+mode+")", 1)
			_, err := d.connect(t).Append(t.Context(), fleetlog.Entry{Key: "evict.1", ID: "1"})
			if !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		})
	}
}

// TestWALDeleted: nobody else sees the writes of a process that has the deleted -wal and
// -shm open, so nothing succeeds there any more.
func TestWALDeleted(t *testing.T) {
	d := sqlite(t)
	e := d.connect(t)
	pos := appended(t, e, fleetlog.Entry{Key: "start", ID: "start"})
	f := following(t, e, pos+1)
	execSQL(t, e.db, "PRAGMA wal_checkpoint(FULL)")
	if err := errors.Join(os.Remove(d.path+"-wal"), os.Remove(d.path+"-shm")); err != nil {
		t.Fatal(err)
	}
	for _, others := range []bool{false, true} {
		if others { // as another process would, it makes new files
			appended(t, d.connect(t), fleetlog.Entry{Key: "evict.2", ID: "2"})
		}
		for name, call := range map[string]func() error{
			"Append": func() error { _, err := e.Append(t.Context(), fleetlog.Entry{Key: "evict.1", ID: "1"}); return err },
			"Read":   func() error { _, err := e.Read(t.Context(), "start"); return err },
			"Follow": func() error { _, err := e.Follow(t.Context(), 1); return err },
			"Next":   func() error { _, err := next(t, f); return err },
		} {
			if err := call(); !errors.Is(err, fleetsql.ErrReplaced) {
				t.Errorf("%s, with new files %t: %v, want ErrReplaced", name, others, err)
			}
		}
	}
}

// TestWALComesAndGoes: the last connection removes -wal when it closes, and the next one
// makes another.
func TestWALComesAndGoes(t *testing.T) {
	d := sqlite(t)
	e := d.connect(t)
	e.db.SetMaxIdleConns(-1)
	for i := range 5 {
		appended(t, e, fleetlog.Entry{Key: "note.x", ID: fmt.Sprint(i)})
		if _, err := e.Read(t.Context(), "note.x"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPollsSlowDown: while notifications report everything, a follower looks seldom. If
// one is lost, the follower still finds the message, and looks often again.
func TestPollsSlowDown(t *testing.T) {
	d := postgres(t)
	d.poll = 50 * time.Millisecond
	e, writer := d.connect(t), d.connect(t)
	f := following(t, e, appended(t, writer, fleetlog.Entry{Key: "start", ID: "start"}))
	if _, err := next(t, f); err != nil {
		t.Fatal(err)
	}
	took := func(id string, told bool) time.Duration {
		done := make(chan time.Time)
		go func() {
			next(t, f)
			done <- time.Now()
		}()
		<-time.After(d.poll) // it has looked, and waits
		began := time.Now()
		appended(t, writer, fleetlog.Entry{Key: "note.x", ID: id})
		if told {
			e.Notified("fleet")
		}
		return (<-done).Sub(began)
	}
	took("1", true)
	e.Notified("fleet sql.nobody")
	slow := took("2", false)
	if slow < 3*d.poll {
		t.Errorf("a message without a notification was found after %v, with a poll of %v", slow, d.poll)
	}
	if slow > 20*d.poll {
		t.Errorf("it took %v", slow)
	}
	var fast []time.Duration
	for i := range 5 {
		fast = append(fast, took(fmt.Sprint("fast", i), false))
	}
	if total := fast[0] + fast[1] + fast[2] + fast[3] + fast[4]; total > 15*d.poll {
		t.Errorf("without notifications the next ones were found after %v", fast)
	}
}

// TestStatementTimeout: a host's timeout for statements does not end the wait for the
// standby, after which PostgreSQL would answer with success: the statement's time has
// ended by then.
func TestStatementTimeout(t *testing.T) {
	d := postgresAlone(t)
	d.dsn += "&statement_timeout=300"
	e := d.connect(t)
	appended(t, e, fleetlog.Entry{Key: "start", ID: "start"})
	setStandby(t, e, "nobody")
	defer setStandby(t, e, "")
	<-time.After(500 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if pos, err := e.Append(ctx, fleetlog.Entry{Key: "evict.1", ID: "1"}); err == nil {
		t.Errorf("position %d was acknowledged without the standby", pos)
	}
}
