package sqlindex_test

import (
	"database/sql/driver"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
)

// TestMigrations: which versions each dialect has, and what a host that runs the scripts
// itself gets.
func TestMigrations(t *testing.T) {
	for dialect, want := range map[sqlindex.Dialect][]int{sqlindex.SQLite: {1, 2, 4}, sqlindex.PostgreSQL: {1, 2, 3, 4}} {
		all, err := sqlindex.Migrations(dialect)
		if err != nil {
			t.Fatal(err)
		}
		var versions []int
		for _, m := range all {
			versions = append(versions, m.Version)
			if m.String() != "BEGIN;\n"+strings.Join(m.Statements, ";\n")+";\nCOMMIT;\n" {
				t.Errorf("%v %d is the script %s", dialect, m.Version, m)
			}
			for _, s := range m.Statements {
				if s == "" || strings.TrimSpace(s) != s || strings.HasSuffix(s, ";") {
					t.Errorf("%v %d has the statement %q", dialect, m.Version, s)
				}
			}
		}
		if !reflect.DeepEqual(versions, want) {
			t.Errorf("%v has the versions %v, want %v", dialect, versions, want)
		}
	}
	if all, err := sqlindex.Migrations(0); err == nil || err.Error() != "sqlindex: unknown dialect" || all != nil {
		t.Errorf("no dialect: got %v, %v", all, err)
	}
}

// TestEmptyMeta: tables without their one row are not an index: a poll fails, whether it
// is the first one or not, and the caches forget everything.
func TestEmptyMeta(t *testing.T) {
	for _, seen := range []bool{false, true} {
		db, ix := openFake(t, sqlindex.Config{Poll: -1})
		if seen {
			if err := ix.Poll(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		db.set(func() { db.rows = [][]driver.Value{} })
		err := ix.Poll(t.Context())
		if err == nil || err.Error() != "sqlindex: poll: svctoken_meta is empty" {
			t.Errorf("got %v", err)
		}
		if s := ix.Status(); s.Err != err || s.State != (indexsource.State{}) {
			t.Errorf("the status is %+v", s)
		}
		db.set(func() { db.rows = nil })
		if err := ix.Poll(t.Context()); err != nil || ix.Status().State.Health != indexsource.HealthGreen {
			t.Errorf("then: got %v, %+v", err, ix.Status())
		}
	}
}

// TestFormatTexts: what an index says of a schema that it cannot use.
func TestFormatTexts(t *testing.T) {
	const begin = "the schema is missing, of a version that this program cannot read, or its triggers are not in force: it has "
	for _, test := range []struct {
		format, readableBy, triggers int64
		want                         string
	}{
		{3, 1, 6, "version 3, the program 4: migrate it"},
		{5, 5, 6, "version 5, and needs programs of version 5 or later; this one has 4"},
		{4, 4, 5, "5 triggers in force of 6"},
	} {
		db, ix := openFake(t, sqlindex.Config{Poll: -1})
		db.set(func() { db.format, db.readableBy, db.triggers = test.format, test.readableBy, test.triggers })
		if err := ix.Poll(t.Context()); err != nil {
			t.Errorf("%s: got %v", test.want, err)
		}
		err := ix.Status().Err
		if !errors.Is(err, sqlindex.ErrFormat) || err.Error() != "sqlindex: poll: "+begin+test.want {
			t.Errorf("got %v, want %s", err, test.want)
		}
		_, _, err = ix.Get(t.Context(), fleet.TokenID("x"))
		if unread := test.triggers == 6; unread != (err != nil) || unread && err.Error() != "sqlindex: get: "+begin+test.want {
			t.Errorf("a read: got %v, want %s", err, test.want)
		}
	}
}
