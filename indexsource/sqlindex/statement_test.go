package sqlindex_test

import (
	"strings"
	"testing"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
)

// TestPrepared: on PostgreSQL no statement is kept prepared, since a pooler may give the
// next use another connection; the driver of the fake prepares each time. On SQLite the
// query of a read is prepared once.
func TestPrepared(t *testing.T) {
	const reads, lists, glances = "t.previous\nFROM", "svctoken_changes", "COALESCE(b.mark, ''), pg_is_in_recovery(), (SELECT count(*) FROM pg_trigger"
	for dialect, want := range map[sqlindex.Dialect]map[string]int{
		sqlindex.PostgreSQL: {reads: 3, lists: 3, glances: 5}, // the lists have what the glances have
		sqlindex.SQLite:     {reads: 1},
	} {
		db, ix := openFakeAs(t, dialect, sqlindex.Config{Poll: -1})
		for range 3 {
			db.set(func() { db.rev++ })
			if err := ix.Poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, _, err := ix.Get(t.Context(), fleet.TokenID("x")); err != nil {
				t.Fatal(err)
			}
		}
		for query, n := range want {
			got := 0
			for _, prepared := range db.prepared {
				if strings.Contains(prepared, query) {
					got++
				}
			}
			if got != n {
				t.Errorf("%v: %q was prepared %d times, want %d", dialect, query, got, n)
			}
		}
	}
}
