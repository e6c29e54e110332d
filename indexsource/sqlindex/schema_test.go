package sqlindex_test

import (
	"reflect"
	"strings"
	"testing"

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
