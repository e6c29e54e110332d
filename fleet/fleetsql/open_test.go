package fleetsql_test

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
)

// TestOpenRefuses: what Open says of settings and tables that it cannot use.
func TestOpenRefuses(t *testing.T) {
	for _, test := range []struct {
		name    string
		dialect fleetsql.Dialect
		cfg     fleetsql.Config
		set     func(*fake)
		want    string
	}{
		{"a poll of less than a millisecond", fleetsql.PostgreSQL, fleetsql.Config{Poll: time.Millisecond - 1}, nil, "fleetsql: Config.Poll: 999.999µs is not from 1ms to 1m"},
		{"a poll of more than a minute", fleetsql.PostgreSQL, fleetsql.Config{Poll: time.Minute + 1}, nil, "fleetsql: Config.Poll: 1m0.000000001s is not from 1ms to 1m"},
		{"a poll before the beginning", fleetsql.PostgreSQL, fleetsql.Config{Poll: -1}, nil, "fleetsql: Config.Poll: -1ns is not from 1ms to 1m"},
		{"a dialect", 3, fleetsql.Config{}, nil, "fleetsql: dialect 3 is not known"},
		{"no dialect", 0, fleetsql.Config{}, nil, "fleetsql: dialect 0 is not known"},
		{"a schema with a quote", fleetsql.PostgreSQL, fleetsql.Config{Schema: `a"b`}, nil, `fleetsql: Config.Schema: "a\"b" is not a name of a-z 0-9 _, or is not for PostgreSQL`},
		{"a schema of SQLite", fleetsql.SQLite, fleetsql.Config{Schema: "x"}, nil, `fleetsql: Config.Schema: "x" is not a name of a-z 0-9 _, or is not for PostgreSQL`},
		{"an earlier version", fleetsql.PostgreSQL, fleetsql.Config{}, func(f *fake) { f.format = 0 }, "fleetsql: open: the tables are of another version: they have 0, the package 1"},
		{"a later version", fleetsql.PostgreSQL, fleetsql.Config{}, func(f *fake) { f.readers = 2 }, "fleetsql: the tables are of another version: they are for versions from 2 on, the package has 1"},
		{"a database in memory", fleetsql.SQLite, fleetsql.Config{}, func(f *fake) { f.path = "" }, "fleetsql: open: the database is in memory, and has nothing to share"},
		{"a file that is not there", fleetsql.SQLite, fleetsql.Config{}, func(f *fake) { f.path = "/nowhere/x" }, "fleetsql: open: stat /nowhere/x: no such file or directory"},
		{"no tables", fleetsql.PostgreSQL, fleetsql.Config{Existing: true}, func(f *fake) { f.fail("format", io.EOF) }, "fleetsql: open: EOF"},
		{"no file", fleetsql.SQLite, fleetsql.Config{}, func(f *fake) { f.fail("file", io.EOF) }, "fleetsql: open: EOF"},
		{"no lock", fleetsql.PostgreSQL, fleetsql.Config{}, func(f *fake) { f.fail("lock", io.EOF) }, "fleetsql: create: EOF"},
		{"no new tables", fleetsql.PostgreSQL, fleetsql.Config{}, func(f *fake) { f.fail("create", io.EOF) }, "fleetsql: create: EOF"},
		{"no new tables, SQLite", fleetsql.SQLite, fleetsql.Config{}, func(f *fake) { f.fail("create", io.EOF) }, "fleetsql: create: EOF"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newSQLite(t)
			if test.set != nil {
				test.set(f)
			}
			_, err := fleetsql.Open(t.Context(), f.db(t), test.dialect, test.cfg)
			if err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if strings.Contains(test.want, "version") != errors.Is(err, fleetsql.ErrFormat) {
				t.Errorf("%v: ErrFormat is %t", err, errors.Is(err, fleetsql.ErrFormat))
			}
		})
	}
}

// TestOpenCreates: what Open asks for, in each dialect, with and without tables.
func TestOpenCreates(t *testing.T) {
	const tables = "create, create, create, create, create, create, create, create, "
	for _, test := range []struct {
		name    string
		dialect fleetsql.Dialect
		cfg     fleetsql.Config
		want    string
	}{
		{"PostgreSQL", fleetsql.PostgreSQL, fleetsql.Config{}, "begin, lock, " + tables + "commit, format"},
		{"the shortest poll", fleetsql.PostgreSQL, fleetsql.Config{Poll: time.Millisecond}, "begin, lock, " + tables + "commit, format"},
		{"the longest poll", fleetsql.PostgreSQL, fleetsql.Config{Poll: time.Minute}, "begin, lock, " + tables + "commit, format"},
		{"existing tables", fleetsql.PostgreSQL, fleetsql.Config{Existing: true}, "format"},
		{"SQLite", fleetsql.SQLite, fleetsql.Config{}, "begin, " + tables + "commit, format, file"},
		{"existing tables of SQLite", fleetsql.SQLite, fleetsql.Config{Existing: true}, "format, file"},
	} {
		f := newSQLite(t)
		if _, err := fleetsql.Open(t.Context(), f.db(t), test.dialect, test.cfg); err != nil {
			t.Fatal(err)
		}
		if got := named(f.calls()); got != test.want {
			t.Errorf("%s: got the calls %s, want %s", test.name, got, test.want)
		}
	}
}

// TestEveryStatementHasTheSchema: no statement leaves it to the search path which of a
// server's logs it is about.
func TestEveryStatementHasTheSchema(t *testing.T) {
	f := newFake()
	l, err := fleetsql.Open(t.Context(), f.db(t), fleetsql.PostgreSQL, fleetsql.Config{Schema: "shared"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := l.Append(t.Context(), fleetlog.Entry{Key: "start", ID: "id"}); err != nil {
			t.Fatal(err)
		}
		f.set(func() { f.appended = int64(1) })
	}
	if _, err := l.Read(t.Context(), "start"); err != nil {
		t.Fatal(err)
	}
	following(t, l, 1)
	address, stop, err := l.Listen(func([]byte) {})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	l.Send(address, nil)
	f.await(t, "take")
	table := regexp.MustCompile(`(ON|TABLE|INTO|FROM|JOIN|UPDATE|EXISTS) (\S*)svctoken_fleet_(log|messages|appends|sent)\b`)
	seen := map[string]bool{}
	for _, c := range f.calls() {
		for _, match := range table.FindAllStringSubmatch(c.text, -1) {
			seen[match[3]] = true
			if match[2] != `"shared".` {
				t.Errorf("%s is in %q: %s", match[3], match[2], c.text)
			}
		}
	}
	if len(seen) != 4 {
		t.Errorf("the tables are %v", seen)
	}
}
