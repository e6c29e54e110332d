package fleetsql_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
)

// newSQLite returns a fake that says it is SQLite, with an empty file.
func newSQLite(t testing.TB) *fake {
	f := newFake()
	f.path = tempFile(t, "fleet.db")
	return f
}

// dialects are those of databases, each with a fake and with the calls of an append.
func dialects(t *testing.T, test func(t *testing.T, f *fake, dialect fleetsql.Dialect, append []string)) {
	t.Run("PostgreSQL", func(t *testing.T) {
		test(t, newFake(), fleetsql.PostgreSQL, []string{"begin", "next", "look", "put", "note", "purge appends", "purge messages", "notify", "commit"})
	})
	t.Run("SQLite", func(t *testing.T) {
		test(t, newSQLite(t), fleetsql.SQLite, []string{"begin", "synchronous", "journal", "next", "look", "put", "note", "purge appends", "purge messages", "commit"})
	})
}

// TestAppendWrites: what an append writes, in its order, on either database.
func TestAppendWrites(t *testing.T) {
	dialects(t, func(t *testing.T, f *fake, dialect fleetsql.Dialect, want []string) {
		f.rev = 6
		l := f.open(t, dialect, fleetsql.Config{})
		for _, test := range []struct {
			name  string
			entry fleetlog.Entry
			put   []any
		}{
			{"a value", fleetlog.Entry{Key: "doc.a.b.c", ID: "id", Value: []byte("v")}, []any{"doc.a.b.c", int64(7), []byte("v"), int64(0), "id", nil}},
			{"no value", fleetlog.Entry{Key: "doc.a.b.c", ID: "id"}, []any{"doc.a.b.c", int64(7), []byte{}, int64(0), "id", nil}},
			{"a deletion", fleetlog.Entry{Key: "doc.a.b.c", ID: "id", Delete: true}, []any{"doc.a.b.c", int64(7), []byte{}, int64(1), "id", nil}},
			{"for two seconds", fleetlog.Entry{Key: "evict.1", ID: "id", TTL: 2 * time.Second}, []any{"evict.1", int64(7), []byte{}, int64(0), "id", int64(2002)}},
			{"for a moment", fleetlog.Entry{Key: "evict.1", ID: "id", TTL: 1}, []any{"evict.1", int64(7), []byte{}, int64(0), "id", int64(2)}},
		} {
			pos, err := l.Append(t.Context(), test.entry)
			if pos != 7 || err != nil {
				t.Errorf("%s: got position %d, %v", test.name, pos, err)
			}
			calls := f.calls()
			if got := named(calls); got != strings.Join(want, ", ") {
				t.Errorf("%s: got the calls %s, want %s", test.name, got, want)
			}
			wantArgs := map[string][]any{
				"look": {"id", test.entry.Key}, "put": test.put, "note": {int64(7), "id"}, "purge appends": {int64(7)}, "notify": {"fleet"},
			}
			wantTexts := map[string]string{
				"begin": "Read Committed", "purge appends": "position <= $1 - 1000 AND written < CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) - 600000 ",
			}
			for _, c := range calls {
				if want := wantArgs[c.name]; !reflect.DeepEqual(c.args, want) {
					t.Errorf("%s: %s: got the arguments %#v, want %#v", test.name, c.name, c.args, want)
				}
				if want := wantTexts[c.name]; dialect == fleetsql.PostgreSQL && !strings.Contains(c.text, want) {
					t.Errorf("%s: %s: got %s, want %q in it", test.name, c.name, c.text, want)
				}
			}
		}
	})
}

// TestAppendWithoutID: an append without an id gets one that no other has.
func TestAppendWithoutID(t *testing.T) {
	f := newFake()
	l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{})
	seen := map[any]bool{"": true}
	for range 3 {
		if _, err := l.Append(t.Context(), fleetlog.Entry{Key: "start"}); err != nil {
			t.Fatal(err)
		}
		calls := f.calls("put", "note")
		id := calls[0].args[4]
		if seen[id] || calls[1].args[1] != id {
			t.Errorf("the message has the id %q, the note has %q", id, calls[1].args[1])
		}
		seen[id] = true
	}
}

// TestAppendIf: an append whose condition does not hold is a conflict, and one that was
// made before is what it was, whatever the key has now.
func TestAppendIf(t *testing.T) {
	at := func(p fleetlog.Position) *fleetlog.Position { return &p }
	for _, test := range []struct {
		name           string
		appended, last any
		condition      *fleetlog.Position
		want           fleetlog.Position
		conflict       string
	}{
		{"no condition", nil, int64(3), nil, 7, ""},
		{"holds", nil, int64(3), at(3), 7, ""},
		{"holds without a value", nil, nil, at(0), 7, ""},
		{"another position", nil, int64(4), at(3), 0, "has position 4, not 3"},
		{"there is a value", nil, int64(4), at(0), 0, "has position 4, not 0"},
		{"there is no value", nil, nil, at(3), 0, "has position 0, not 3"},
		{"repeated", int64(5), int64(5), nil, 5, ""},
		{"repeated, and changed since", int64(5), int64(6), at(3), 5, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake()
			f.rev, f.appended, f.last = 6, test.appended, test.last
			l := f.open(t, fleetsql.PostgreSQL, fleetsql.Config{})
			pos, err := l.Append(t.Context(), fleetlog.Entry{Key: "doc." + strings.Repeat("x", 100), ID: "id", If: test.condition})
			want := "<nil>"
			if test.conflict != "" {
				want = "fleetsql: append: fleetlog: the key has changed: doc." + strings.Repeat("x", 56) + " " + test.conflict
			}
			if pos != test.want || fmt.Sprint(err) != want || errors.Is(err, fleetlog.ErrConflict) != (test.conflict != "") {
				t.Errorf("got position %d, %v, want %d, %s", pos, err, test.want, want)
			}
			calls := map[bool]string{true: "begin, next, look, rollback", false: "begin, next, look, put, note, purge appends, purge messages, notify, commit"}[test.conflict != ""]
			if test.appended != nil {
				calls = "begin, next, look, again, commit" // which writes, and so waits for the standby
			}
			if got := named(f.calls()); got != calls {
				t.Errorf("got the calls %s, want %s", got, calls)
			}
		})
	}
}

// TestAppendFails: an append of which any call fails returns that error and no position,
// and is rolled back. A connection that cannot roll back is not used again.
func TestAppendFails(t *testing.T) {
	dialects(t, func(t *testing.T, f *fake, dialect fleetsql.Dialect, all []string) {
		l := f.open(t, dialect, fleetsql.Config{})
		for i, name := range all {
			f.fail(name, io.ErrUnexpectedEOF)
			pos, err := l.Append(t.Context(), fleetlog.Entry{Key: "start", ID: "id"})
			if pos != 0 || !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "fleetsql: append: unexpected EOF" {
				t.Errorf("%s fails: got position %d, %v", name, pos, err)
			}
			want := strings.Join(all[:i+1], ", ")
			if dialect == fleetsql.SQLite || name != "begin" && name != "commit" { // after which database/sql has no transaction
				want += ", rollback"
			}
			if got := named(f.calls()); got != want {
				t.Errorf("%s fails: got the calls %s, want %s", name, got, want)
			}
		}
		for _, name := range []string{"synchronous", "journal", "next", "look"} {
			f.set(func() { f.fails, f.garbles = nil, name })
			pos, err := l.Append(t.Context(), fleetlog.Entry{Key: "start", ID: "id"})
			if got := named(f.calls()); strings.Contains(got, name) && (pos != 0 || err == nil || strings.Contains(got, "commit")) {
				t.Errorf("the answer to %s cannot be read: got position %d, %v, after the calls %s", name, pos, err, got)
			}
		}
		f.set(func() {
			f.fails = func(_ context.Context, name string) error {
				if name == "put" || name == "rollback" {
					return io.ErrUnexpectedEOF
				}
				return nil
			}
			f.garbles = ""
		})
		l.Append(t.Context(), fleetlog.Entry{Key: "start", ID: "id"})
		if got := named(f.calls()); dialect == fleetsql.SQLite && !strings.HasSuffix(got, "put, rollback, close") {
			t.Errorf("after a rollback that failed: got the calls %s", got)
		}
		f.set(func() { f.fails = nil })
		if pos, err := l.Append(t.Context(), fleetlog.Entry{Key: "start", ID: "id"}); pos != 1 || err != nil {
			t.Errorf("then: got position %d, %v", pos, err)
		}
	})
}

// TestCommitOfNobody: a commit that is answered after the context has ended may have been
// cancelled while it waited for the standby. Its outcome is unknown, and is not success.
func TestCommitOfNobody(t *testing.T) {
	dialects(t, func(t *testing.T, f *fake, dialect fleetsql.Dialect, _ []string) {
		l := f.open(t, dialect, fleetsql.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		f.set(func() { f.afterCommit = cancel })
		pos, err := l.Append(ctx, fleetlog.Entry{Key: "start", ID: "id"})
		const want = "fleetsql: append: a commit whose context ended may not have reached the standby: context canceled"
		if pos != 0 || !errors.Is(err, context.Canceled) || err.Error() != want {
			t.Errorf("got position %d, %v, want %s", pos, err, want)
		}
		if got := named(f.calls()); !strings.HasSuffix(got, ", commit") {
			t.Errorf("got the calls %s", got)
		}
	})
}

// TestRefusals: an append that would not be durable, or that this version may not make,
// writes nothing and says why.
func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		name    string
		dialect fleetsql.Dialect
		set     func(*fake)
		is      error
		text    string
	}{
		{"not durable", fleetsql.PostgreSQL, func(f *fake) { f.durable = false }, fleetsql.ErrNotDurable, "fleetsql: append: synchronous_commit: "},
		{"NORMAL", fleetsql.SQLite, func(f *fake) { f.synchronous = 1 }, fleetsql.ErrNotDurable, "fleetsql: append: PRAGMA synchronous is 1, and must be 2, FULL: "},
		{"EXTRA", fleetsql.SQLite, func(f *fake) { f.synchronous = 3 }, nil, ""},
		{"no journal", fleetsql.SQLite, func(f *fake) { f.journal = "off" }, fleetsql.ErrNotDurable, "fleetsql: append: PRAGMA journal_mode is off, and must be WAL: "},
		{"a journal in memory", fleetsql.SQLite, func(f *fake) { f.journal = "MEMORY" }, fleetsql.ErrNotDurable, "fleetsql: append: PRAGMA journal_mode is MEMORY, and must be WAL: "},
		{"a later version", fleetsql.PostgreSQL, func(f *fake) { f.readers = 2 }, fleetsql.ErrFormat, "fleetsql: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newSQLite(t)
			l := f.open(t, test.dialect, fleetsql.Config{})
			f.set(func() { test.set(f) })
			pos, err := l.Append(t.Context(), fleetlog.Entry{Key: "start", ID: "id"})
			calls := named(f.calls())
			if test.is == nil {
				if pos != 1 || err != nil {
					t.Errorf("got position %d, %v", pos, err)
				}
				return
			}
			want := test.text + test.is.Error()
			if test.is == fleetsql.ErrFormat {
				want += ": they are for versions from 2 on, the package has 1"
			}
			if pos != 0 || !errors.Is(err, test.is) || err.Error() != want {
				t.Errorf("got position %d, %v, want %s", pos, err, want)
			}
			if strings.Contains(calls, "put") || !strings.HasSuffix(calls, ", rollback") {
				t.Errorf("got the calls %s", calls)
			}
		})
	}
}
