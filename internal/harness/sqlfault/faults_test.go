package sqlfault_test

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"path/filepath"
	"testing"

	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/svctoken/svctoken/internal/harness/sqlfault"
)

// TestFaults: each call of a transaction fails once, in each mode, and what was asked for
// has happened or not, as the mode says.
func TestFaults(t *testing.T) {
	dsn := "file:" + filepath.Join(t.TempDir(), "x.db")
	plain, err := sql.Open("sqlite3", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	base, err := plain.Driver().(driver.DriverContext).OpenConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	faults := sqlfault.New(base)
	db := sql.OpenDB(faults)
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE t (n INTEGER)"); err != nil {
		t.Fatal(err)
	}
	increase := func() error {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(t.Context(), "INSERT INTO t VALUES (?)", 1); err != nil {
			return err
		}
		return tx.Commit()
	}
	count := func() (n int) {
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM t").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, mode := range []sqlfault.Mode{sqlfault.Once, sqlfault.Lost, sqlfault.FromHere} {
		var calls []string
		for n := 0; ; n++ {
			before := count()
			faults.Fail(n, mode)
			err := increase()
			fired := faults.Stop()
			if fired == "" {
				if err != nil || count() != before+1 {
					t.Errorf("mode %d: without a fault: %v", mode, err)
				}
				break
			}
			calls = append(calls, fired)
			want := before
			if fired == "commit" && mode == sqlfault.Lost {
				want++
			}
			if !errors.Is(err, sqlfault.Err) || count() != want {
				t.Errorf("mode %d, %s fails: got %v, and %d rows after %d", mode, fired, err, count(), before)
			}
		}
		if len(calls) != 4 {
			t.Errorf("mode %d: got the calls %q, want begin, prepare, exec and commit", mode, calls)
		}
	}
}
