package enginetest

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
)

// TestMigrate: any number of processes at once may bring an empty database, or an older
// schema, up to date. They leave a newer one alone.
func TestMigrate(t *testing.T) {
	for name, empty := range map[string]func(testing.TB) database{"SQLite": sqlite, "PostgreSQL": postgres} {
		t.Run(name, func(t *testing.T) {
			d := empty(t)
			ix := d.index(t, d.open(t), sqlindex.Config{})
			if _, _, err := ix.Get(t.Context(), fleet.TokenID("x")); err == nil {
				t.Error("a read of an empty database succeeds")
			}
			var wg sync.WaitGroup
			for range 4 {
				ix := d.index(t, d.open(t), sqlindex.Config{})
				wg.Go(func() {
					if err := ix.Migrate(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			n := d.node(t, sqlindex.Config{})
			if state := n.source.State(); !state.UpToDate || state.Health != indexsource.HealthGreen {
				t.Errorf("got %+v", state)
			}
			n.want(t, n.create(t, "token1"), "confirmed")
			transaction(t, d, "UPDATE svctoken_meta SET format = 7, readable_by = 7, rev = rev + 1")
			if err := ix.Migrate(t.Context()); !errors.Is(err, sqlindex.ErrFormat) {
				t.Errorf("a newer schema: got %v", err)
			}
			n.poll(t)
			if state := n.source.State(); state.UpToDate || n.cache.Stats().Entries != 0 {
				t.Errorf("got %+v with %d entries", state, n.cache.Stats().Entries)
			}
		})
	}
}

// TestPrintedMigrations: a shell can run the printed scripts, step by step. Between the
// steps the schema is not up to date, and Migrate does the rest.
func TestPrintedMigrations(t *testing.T) {
	for _, d := range []database{sqlite(t), postgres(t)} {
		all, err := sqlindex.Migrations(d.kind)
		if err != nil || len(all) < 2 || !strings.Contains(all[0].String(), "COMMIT;") {
			t.Fatalf("got %d, %v", len(all), err)
		}
		transactionOf(t, d, all[0].Statements)
		ix := d.index(t, d.open(t), sqlindex.Config{})
		if err := ix.Poll(t.Context()); !errors.Is(err, sqlindex.ErrFormat) || ix.Status().State.Health != indexsource.HealthNone {
			t.Errorf("%v after the first: got %+v, %v", d.kind, ix.Status(), err)
		}
		if err := ix.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := ix.Poll(t.Context()); err != nil || !ix.Status().State.UpToDate {
			t.Errorf("%v: got %+v, %v", d.kind, ix.Status(), err)
		}
	}
}

func transactionOf(t testing.TB, d database, statements []string) {
	t.Helper()
	tx, err := d.open(t).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for _, statement := range statements {
		execSQL(t, tx, statement)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}
