package sqlindex_test

import (
	"database/sql/driver"
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
