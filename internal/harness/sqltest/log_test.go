package sqltest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
)

func appended(t testing.TB, e fleetlog.Log, entry fleetlog.Entry) fleetlog.Position {
	t.Helper()
	pos, err := e.Append(t.Context(), entry)
	if err != nil {
		t.Fatalf("append %s: %v", entry.Key, err)
	}
	return pos
}

func next(t testing.TB, f fleetlog.Follower) (fleetlog.Message, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	m, err := f.Next(ctx)
	if ctx.Err() != nil {
		t.Fatal("the follower is silent")
	}
	return m, err
}

func following(t testing.TB, e fleetlog.Log, from fleetlog.Position) fleetlog.Follower {
	t.Helper()
	f, err := e.Follow(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// TestPositionsAreCommits: an append waits for the one that has the position before it,
// so that nobody sees a later position before an earlier one.
func TestPositionsAreCommits(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		e := d.connect(t)
		first := appended(t, e, fleetlog.Entry{Key: "start", ID: "start"})
		conn, err := e.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		begin := "BEGIN"
		if d.dialect == fleetsql.SQLite {
			begin = "BEGIN IMMEDIATE"
		}
		for _, s := range []string{begin, "UPDATE svctoken_fleet_log SET rev = rev + 1"} {
			if _, err := conn.ExecContext(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if pos, err := e.Append(ctx, fleetlog.Entry{Key: "evict.1", ID: "1"}); err == nil {
			t.Errorf("it got position %d while another append was not committed", pos)
		}
		if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		if pos := appended(t, e, fleetlog.Entry{Key: "evict.1", ID: "1"}); pos != first+1 {
			t.Errorf("it got position %d, want %d", pos, first+1)
		}
	})
}

// TestGoneAnotherWay: a copy of the log has lost an append and got others since. A
// follower that has seen the lost one notices, although the positions continue.
func TestGoneAnotherWay(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		e := d.connect(t)
		pos := appended(t, e, fleetlog.Entry{Key: "start", ID: "start"})
		lost := appended(t, e, fleetlog.Entry{Key: "evict.lost", ID: "lost"})
		f := following(t, e, pos)
		for _, want := range []string{"start", "evict.lost"} {
			if m, err := next(t, f); err != nil || m.Key != want {
				t.Fatalf("got %+v, %v, want %s", m, err, want)
			}
		}
		for _, s := range []string{
			"UPDATE svctoken_fleet_log SET rev = rev - 1",
			"DELETE FROM svctoken_fleet_messages WHERE key = 'evict.lost'",
			"DELETE FROM svctoken_fleet_appends WHERE id = 'lost'",
		} {
			execSQL(t, e.db, s)
		}
		if again := appended(t, e, fleetlog.Entry{Key: "evict.other", ID: "other"}); again != lost {
			t.Fatalf("got position %d, want %d again", again, lost)
		}
		appended(t, e, fleetlog.Entry{Key: "evict.more", ID: "more"})
		if m, err := next(t, f); err == nil {
			t.Errorf("the follower went on with %+v", m)
		}
		execSQL(t, e.db, "UPDATE svctoken_fleet_log SET rev = 0")
		if _, err := e.Follow(t.Context(), lost+1); err == nil {
			t.Error("a follower began after the end of the log")
		}
	})
}

// TestAnotherLog: a follower does not follow a log with another identity, even if
// everything else agrees.
func TestAnotherLog(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		e := d.connect(t)
		f := following(t, e, appended(t, e, fleetlog.Entry{Key: "start", ID: "start"}))
		if m, err := next(t, f); err != nil || m.Key != "start" {
			t.Fatalf("got %+v, %v", m, err)
		}
		execSQL(t, e.db, "UPDATE svctoken_fleet_log SET uuid = 'another'")
		appended(t, e, fleetlog.Entry{Key: "evict.1", ID: "1"})
		if m, err := next(t, f); err == nil {
			t.Errorf("the follower went on with %+v", m)
		}
	})
}

// TestKeysAreBytes: a prefix matches all keys that begin with its bytes, whatever the
// database's collation.
func TestKeysAreBytes(t *testing.T) {
	d := postgres(t)
	e := d.connect(t)
	var collation string
	if err := e.db.QueryRow(`SELECT collname FROM pg_attribute a JOIN pg_collation c ON c.oid = a.attcollation
		WHERE attrelid = 'svctoken_fleet_messages'::regclass AND attname = 'key'`).Scan(&collation); err != nil || collation != "C" {
		t.Errorf("the keys' collation is %q, %v, want C", collation, err)
	}
}

// TestPurge: messages past their TTL are deleted, a few with each append, and so are the
// ids of old appends, except for those of the last thousand positions.
func TestPurge(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		e := d.connect(t)
		for i := range 20 {
			appended(t, e, fleetlog.Entry{Key: fmt.Sprint("evict.", i), ID: fmt.Sprint(i), TTL: time.Hour})
		}
		appended(t, e, fleetlog.Entry{Key: "meta", ID: "meta"})
		execSQL(t, e.db, "UPDATE svctoken_fleet_messages SET expires = 1 WHERE expires IS NOT NULL")
		execSQL(t, e.db, "UPDATE svctoken_fleet_appends SET written = 1")
		execSQL(t, e.db, "UPDATE svctoken_fleet_log SET rev = 1010")
		count := func(table string) (n int) {
			if err := e.db.QueryRow("SELECT count(*) FROM svctoken_fleet_" + table).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		for i := range 10 {
			appended(t, e, fleetlog.Entry{Key: "doc.a.b.c", ID: fmt.Sprint("new", i)})
		}
		if n := count("messages"); n != 2 {
			t.Errorf("%d messages are left, want meta and the document", n)
		}
		if n := count("appends"); n != 11 { // of 21, those at 21 to 1020
			t.Errorf("%d ids are left, want 11", n)
		}
		if pos := appended(t, e, fleetlog.Entry{Key: "meta", ID: "meta"}); pos != 21 {
			t.Errorf("an append that is repeated got position %d", pos)
		}
	})
}

// TestNotDurable: an append that could be lost with the power, or with the primary, is
// refused, and nothing is written.
func TestNotDurable(t *testing.T) {
	for _, test := range []struct {
		name     string
		make     func(testing.TB) database
		careless func(dsn string) string
	}{
		{"SQLite, NORMAL", sqlite, func(dsn string) string { return strings.Replace(dsn, "synchronous(FULL)", "synchronous(NORMAL)", 1) }},
		{"PostgreSQL, off", postgres, func(dsn string) string { return dsn + "&synchronous_commit=off" }},
		{"PostgreSQL, local", postgres, func(dsn string) string { return dsn + "&synchronous_commit=local" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := test.make(t)
			last := appended(t, d.connect(t), fleetlog.Entry{Key: "start", ID: "start"})
			d.dsn = test.careless(d.dsn)
			e := d.connect(t)
			if _, err := e.Append(t.Context(), fleetlog.Entry{Key: "evict.1", ID: "1"}); !errors.Is(err, fleetsql.ErrNotDurable) {
				t.Errorf("got %v, want ErrNotDurable", err)
			}
			if view, err := e.Read(t.Context(), "evict.1"); err != nil || len(view.Messages) != 0 || view.Position != last {
				t.Errorf("got %+v, %v", view, err)
			}
		})
	}
}

// TestReplica: a replica of PostgreSQL takes no append, and its views show what it has.
func TestReplica(t *testing.T) {
	s, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	defer s.Close()
	d := newSchema(t, s)
	primary := d.connect(t)
	pos := appended(t, primary, fleetlog.Entry{Key: "doc.a.b.c", ID: "1", Value: []byte("x")})
	r, err := s.Replica()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	behind := d
	behind.dsn = strings.Replace(d.dsn, s.URL("postgres"), r.URL("postgres"), 1)
	db := behind.open(t, nil)
	e, err := fleetsql.Open(t.Context(), db, d.dialect, fleetsql.Config{Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Append(t.Context(), fleetlog.Entry{Key: "evict.1", ID: "2"}); err == nil || errors.Is(err, fleetlog.ErrConflict) {
		t.Errorf("an append on a replica: %v", err)
	}
	execSQL(t, db, "SELECT pg_wal_replay_pause()")
	last := appended(t, primary, fleetlog.Entry{Key: "doc.a.b.c", ID: "3", Value: []byte("y")})
	view, err := e.Read(t.Context(), "doc.a.b.c")
	if err != nil || view.Position >= last || view.Position < pos || string(view.Messages["doc.a.b.c"].Value) != "x" {
		t.Errorf("a view of a replica that is behind: %+v, %v", view, err)
	}
	execSQL(t, db, "SELECT pg_wal_replay_resume()")
}

// TestReplacedFile: once another file is in the place of SQLite's, nothing succeeds in
// the old one.
func TestReplacedFile(t *testing.T) {
	d := sqlite(t)
	e := d.connect(t)
	pos := appended(t, e, fleetlog.Entry{Key: "start", ID: "start"})
	f := following(t, e, pos+1)
	execSQL(t, e.db, "VACUUM INTO '"+d.path+".copy'")
	if err := os.Rename(d.path+".copy", d.path); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"Append":       func() error { _, err := e.Append(t.Context(), fleetlog.Entry{Key: "evict.1", ID: "1"}); return err },
		"Append again": func() error { _, err := e.Append(t.Context(), fleetlog.Entry{Key: "start", ID: "start"}); return err },
		"Read":         func() error { _, err := e.Read(t.Context(), "start"); return err },
		"Follow":       func() error { _, err := e.Follow(t.Context(), 1); return err },
		"Next":         func() error { _, err := next(t, f); return err },
	} {
		if err := call(); !errors.Is(err, fleetsql.ErrReplaced) {
			t.Errorf("%s: %v, want ErrReplaced", name, err)
		}
	}
}

// TestErrorsHoldNoValues: PostgreSQL quotes the row that breaks a constraint, and a
// document has a password hash.
func TestErrorsHoldNoValues(t *testing.T) {
	d := postgres(t)
	e := d.connect(t)
	execSQL(t, e.db, "ALTER TABLE svctoken_fleet_messages ADD CHECK (length(value) < 5)")
	_, err := e.Append(t.Context(), fleetlog.Entry{Key: "doc.a.b.c", ID: "1", Value: []byte("{PBKDF2}hash")})
	if err == nil {
		t.Fatal("no error")
	}
	if _, quotes := errors.AsType[*pgconn.PgError](err); quotes || strings.Contains(fmt.Sprintf("%+v", err), "PBKDF2") {
		t.Errorf("got %+v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Read(ctx, "start"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want one that wraps context.Canceled", err)
	}
}

func TestOpen(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db := d.open(t, nil)
		if _, err := fleetsql.Open(t.Context(), db, d.dialect, fleetsql.Config{Existing: true}); err == nil {
			t.Error("a log without tables was opened")
		}
		for name, poll := range map[string]time.Duration{"negative": -1, "too short": time.Microsecond, "too long": time.Hour} {
			if _, err := fleetsql.Open(t.Context(), db, d.dialect, fleetsql.Config{Poll: poll}); err == nil || !strings.Contains(err.Error(), "Config.Poll") {
				t.Errorf("Poll %s: %v", name, err)
			}
		}
		if _, err := fleetsql.Open(t.Context(), db, 3, fleetsql.Config{}); err == nil || err.Error() != "fleetsql: dialect 3 is not known" {
			t.Errorf("got %v", err)
		}
		statements, err := fleetsql.Schema(d.dialect)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, s := range statements {
				execSQL(t, db, s)
			}
		}
		e, err := fleetsql.Open(t.Context(), db, d.dialect, fleetsql.Config{Existing: true})
		if err != nil {
			t.Fatal(err)
		}
		if pos := appended(t, e, fleetlog.Entry{Key: "start"}); pos != 1 {
			t.Errorf("the first position is %d", pos)
		}
		execSQL(t, db, "UPDATE svctoken_fleet_log SET format = format + 1") // which says that this version still reads it
		if _, err := fleetsql.Open(t.Context(), db, d.dialect, fleetsql.Config{}); err != nil {
			t.Errorf("a later format for the same readers: %v", err)
		}
		execSQL(t, db, "UPDATE svctoken_fleet_log SET readers = format")
		if _, err := fleetsql.Open(t.Context(), db, d.dialect, fleetsql.Config{}); !errors.Is(err, fleetsql.ErrFormat) {
			t.Errorf("got %v, want ErrFormat", err)
		}
	})
	memory := database{fleetsql.SQLite, "ncruces", "file::memory:?_pragma=synchronous(FULL)", "", 0}
	db := memory.open(t, nil)
	db.SetMaxOpenConns(1)
	if _, err := fleetsql.Open(t.Context(), db, fleetsql.SQLite, fleetsql.Config{}); err == nil || !strings.Contains(err.Error(), "in memory") {
		t.Errorf("got %v", err)
	}
}

// TestOpenAtOnce: nodes that start together create one log.
func TestOpenAtOnce(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		opened := make(chan error)
		for range 4 {
			go func() {
				_, err := fleetsql.Open(t.Context(), d.open(t, nil), d.dialect, fleetsql.Config{})
				opened <- err
			}()
		}
		for range 4 {
			if err := <-opened; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestNotified: a follower that polls once a minute hears of an append at once, from its
// own log, and from another one over a connection that listens; and so does a
// listener of what was sent to it.
func TestNotified(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		d.poll = time.Minute
		e, other := d.connect(t), d.connect(t)
		f := following(t, e, 1)
		time.AfterFunc(20*time.Millisecond, func() { e.Append(context.Background(), fleetlog.Entry{Key: "own", ID: "1"}) })
		if m, err := next(t, f); err != nil || m.Key != "own" {
			t.Errorf("got %+v, %v", m, err)
		}
		notified := func(string) {}
		if d.dialect == fleetsql.PostgreSQL {
			listen(t, d, e.Log)
		} else {
			notified = e.Notified
		}
		time.AfterFunc(20*time.Millisecond, func() {
			other.Append(context.Background(), fleetlog.Entry{Key: "other", ID: "2"})
			notified("fleet")
		})
		if m, err := next(t, f); err != nil || m.Key != "other" {
			t.Errorf("got %+v, %v", m, err)
		}
		got := make(chan string, 1000)
		address, stop, err := e.Listen(func(data []byte) { got <- string(data) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		until := func(data string) {
			t.Helper()
			select {
			case first := <-got:
				if first != data {
					t.Errorf("got %q, want %q", first, data)
				}
			case <-time.After(10 * time.Second):
				t.Errorf("%q does not come", data)
			}
		}
		e.Send(address, []byte("own"))
		until("own")
		sendAndTell := func(data, payload string) {
			other.Send(address, []byte(data))
			for n := 0; n == 0; {
				if err := e.db.QueryRow("SELECT count(*) FROM svctoken_fleet_sent").Scan(&n); err != nil {
					t.Fatal(err)
				}
				n += len(got)
			}
			notified(payload)
		}
		sendAndTell("an answer", "fleet sql.somebody "+address)
		until("an answer")
		sendAndTell("an answer to a reconnect", "")
		until("an answer to a reconnect")
	})
}

// TestManyAnswers: messages that are sent at once arrive, up to a bound.
func TestManyAnswers(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		a, b := d.connect(t), d.connect(t)
		got := make(chan string, 5000)
		address, stop, err := a.Listen(func(data []byte) { got <- string(data) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		const sent = 1000
		for i := range sent {
			b.Send(address, fmt.Append(nil, i))
		}
		seen := make(map[string]bool)
		for len(seen) < sent {
			select {
			case data := <-got:
				if seen[data] {
					t.Fatalf("%s came twice", data)
				}
				seen[data] = true
			case <-time.After(10 * time.Second):
				t.Fatalf("%d of %d have come", len(seen), sent)
			}
		}
	})
}

// TestSent: messages that were read are deleted from the table, and so are old ones that
// nobody reads. An address of another log is left alone.
func TestSent(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		e := d.connect(t)
		rows := func() (addresses []string) {
			r, err := e.db.Query("SELECT address FROM svctoken_fleet_sent ORDER BY n")
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for r.Next() {
				var a string
				if err := r.Scan(&a); err != nil {
					t.Fatal(err)
				}
				addresses = append(addresses, a)
			}
			return addresses
		}
		until := func(want ...string) {
			t.Helper()
			for began := time.Now(); !cmp.Equal(rows(), want); {
				if time.Since(began) > 10*time.Second {
					t.Fatalf("the table has %q, want %q", rows(), want)
				}
			}
		}
		got := make(chan string, 10)
		address, stop, err := e.Listen(func(data []byte) { got <- string(data) })
		if err != nil {
			t.Fatal(err)
		}
		e.Send("_FLEET.svctoken.x", []byte("of NATS"))
		e.Send("sql."+strings.Repeat("x", 10_000), []byte("longer than a notification"))
		e.Send("sql.two words", nil)
		e.Send("sql.nobody", []byte("lost"))
		until("sql.nobody")
		e.Send(address, []byte("hello"))
		if data := <-got; data != "hello" {
			t.Errorf("got %q", data)
		}
		until("sql.nobody")
		stop()
		execSQL(t, e.db, "UPDATE svctoken_fleet_sent SET written = 1")
		e.Send("sql.nobody2", nil)
		until("sql.nobody2")
		e.Send(address, []byte("too late")) // nobody reads it any more
		until("sql.nobody2", address)
		heard := make(chan struct{})
		another, stopAnother, err := d.connect(t).Listen(func([]byte) { heard <- struct{}{} })
		if err != nil {
			t.Fatal(err)
		}
		defer stopAnother()
		for range 5 { // each takes another log a poll
			e.Send(another, nil)
			<-heard
		}
		until("sql.nobody2", address)
		if len(got) > 0 {
			t.Errorf("got %q as well", <-got)
		}
	})
}
