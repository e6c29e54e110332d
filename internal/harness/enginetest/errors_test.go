package enginetest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/internal/harness/sqlfault"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// faulty opens the database with a driver whose calls can be made to fail.
func (d database) faulty(t testing.TB) (*sql.DB, *sqlfault.Faults) {
	t.Helper()
	base, err := d.open(t).Driver().(driver.DriverContext).OpenConnector(d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	faults := sqlfault.New(base)
	db := sql.OpenDB(faults)
	t.Cleanup(func() { db.Close() })
	return db, faults
}

// operations are the methods of an index that ask the database.
func operations(ix *sqlindex.Index) map[string]func(context.Context) error {
	id, account := fleet.TokenID("token1"), fleet
	evictor := ix.Evictor(tokencache.NewGroup(tokencache.GroupConfig{}))
	return map[string]func(context.Context) error{
		"Get":      func(ctx context.Context) error { _, _, err := ix.Get(ctx, id); return err },
		"List":     func(ctx context.Context) error { _, err := ix.List(ctx, account); return err },
		"LastUses": func(ctx context.Context) error { _, err := ix.LastUses(ctx, account); return err },
		"History":  func(ctx context.Context) error { _, err := ix.History(ctx, account, "token1", 0); return err },
		"Poll":     ix.Poll,
		"All": func(ctx context.Context) error {
			for _, err := range ix.All(ctx) {
				if err != nil {
					return err
				}
			}
			return nil
		},
		"NoteUses": func(ctx context.Context) error {
			return ix.NoteUses(ctx, map[tokencache.TokenID]time.Time{id: time.Now()})
		},
		"Create":     func(ctx context.Context) error { _, err := ix.Create(ctx, fleet.TokenID("token9"), "me"); return err },
		"Put":        func(ctx context.Context) error { return ix.Put(ctx, indexsource.Document{Token: id}) },
		"Rotate":     func(ctx context.Context) error { _, err := ix.Rotate(ctx, id, time.Hour, "me"); return err },
		"RotateNow":  func(ctx context.Context) error { _, err := ix.Rotate(ctx, id, 0, "me"); return err },
		"SetExpiry":  func(ctx context.Context) error { return ix.SetExpiry(ctx, id, time.UnixMilli(1)) },
		"SetEnabled": func(ctx context.Context) error { return ix.SetEnabled(ctx, id, false) },
		"Delete":     func(ctx context.Context) error { return ix.Delete(ctx, id) },
		"DeleteAccount": func(ctx context.Context) error {
			_, err := ix.DeleteAccount(ctx, account)
			return err
		},
		"Evict": func(ctx context.Context) error {
			_, err := evictor.Evict(ctx, account.Namespace, account.Service, "*")
			return err
		},
		"Renew": ix.Renew,
	}
}

// changes are the operations that change something.
var changes = map[string]bool{
	"Create": true, "Put": true, "Rotate": true, "RotateNow": true, "SetExpiry": true, "SetEnabled": true, "Delete": true, "DeleteAccount": true, "Evict": true, "Renew": true,
}

// TestEveryError: whichever call of a driver fails, the method returns an error, with
// that of the connection and nothing else of the driver's. Unless the error says that the
// change may be in force, nothing has changed. The index works again as soon as the
// database does.
func TestEveryError(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		for _, mode := range []sqlfault.Mode{sqlfault.Once, sqlfault.Lost, sqlfault.FromHere} {
			db, faults := d.faulty(t)
			db.SetMaxOpenConns(3) // so that a connection that is not given back is missed
			ix := d.index(t, db, sqlindex.Config{})
			for name, do := range operations(ix) {
				if err := ix.Poll(t.Context()); err != nil { // otherwise the next poll would read all earlier changes
					t.Fatal(err)
				}
				t.Run(fmt.Sprintf("%s, mode %d", name, mode), func(t *testing.T) { everyError(t, d, do, faults, mode) })
			}
		}
	})
}

func everyError(t *testing.T, d database, do func(context.Context) error, faults *sqlfault.Faults, mode sqlfault.Mode) {
	plain := d.open(t)
	other := d.index(t, plain, sqlindex.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for n := 0; ; n++ {
		resetTokens(t, other)
		before := contents(t, plain)
		faults.Fail(n, mode)
		err := do(ctx)
		fired := faults.Stop()
		if fired == "" {
			if err != nil || n == 0 {
				t.Errorf("after %d calls: %v", n, err)
			}
			return
		}
		if !errors.Is(err, sqlfault.Err) || !strings.HasPrefix(err.Error(), "sqlindex: ") {
			t.Errorf("%.60q fails: got %v", fired, err)
		}
		changed := contents(t, plain) != before
		if unconfirmed := errors.Is(err, sqlindex.ErrUnconfirmed); changed && !unconfirmed || unconfirmed != (fired == "commit") {
			if mode != sqlfault.Lost || strings.HasPrefix(fired, "begin") { // without a transaction, a lost answer may hide a change
				t.Errorf("%.60q fails: something has changed: %t; got %v", fired, changed, err)
			}
		}
	}
}

// resetTokens restores token1, and removes the others.
func resetTokens(t *testing.T, ix *sqlindex.Index) {
	t.Helper()
	hash, err := tokenhash.Parse(hashOfSupersecret)
	if err != nil {
		t.Fatal(err)
	}
	doc := indexsource.Document{Token: fleet.TokenID("token1"), Created: time.UnixMilli(1), Creator: "me", Enabled: true, Hash: hash}
	if err := ix.Put(t.Context(), doc); err != nil {
		t.Fatal(err)
	}
	if err := ix.Delete(t.Context(), fleet.TokenID("token9")); err != nil && !errors.Is(err, tokencache.ErrNotFound) {
		t.Fatal(err)
	}
}

// contents returns all tokens and changes as a text.
func contents(t *testing.T, db *sql.DB) string {
	t.Helper()
	var text strings.Builder
	for _, query := range []string{
		"SELECT namespace || service || name || hash || previous || enabled || COALESCE(expires, 0) FROM svctoken_tokens ORDER BY 1",
		"SELECT uuid || rev || actor FROM svctoken_meta",
		"SELECT kind || rev || namespace || service || name FROM svctoken_changes ORDER BY 1",
	} {
		rows, err := db.QueryContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var line string
			if err := rows.Scan(&line); err != nil {
				t.Fatal(err)
			}
			text.WriteString(line + "\n")
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		rows.Close()
	}
	return text.String()
}

// TestEveryErrorOfMigrate: whichever call of the driver fails, the migration returns an
// error and leaves an empty database; the next one succeeds.
func TestEveryErrorOfMigrate(t *testing.T) {
	for n, ended := 0, false; !ended; n++ {
		d := sqlite(t)
		db, faults := d.faulty(t)
		db.SetMaxOpenConns(1)
		ix := d.index(t, db, sqlindex.Config{})
		faults.Fail(n, sqlfault.Mode(n%3))
		err := ix.Migrate(t.Context())
		fired := faults.Stop()
		switch ended = fired == ""; {
		case ended && (err != nil || n < 20):
			t.Errorf("after %d calls: %v", n, err)
		case !ended && !errors.Is(err, sqlfault.Err):
			t.Errorf("%.60q fails: got %v", fired, err)
		}
		if err := ix.Migrate(t.Context()); err != nil {
			t.Errorf("after %.60q has failed: %v", fired, err)
		}
		if err := ix.Poll(t.Context()); err != nil {
			t.Errorf("after %.60q has failed: %v", fired, err)
		}
		db.Close()
	}
}

// TestPollAfterError: a poll that fails takes no position, so the next one covers the
// same changes.
func TestPollAfterError(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		for _, mode := range []sqlfault.Mode{sqlfault.Once, sqlfault.Lost, sqlfault.FromHere} {
			other := d.node(t, sqlindex.Config{})
			db, faults := d.faulty(t)
			n := d.nodeOf(t, db, sqlindex.Config{})
			for call, fired := 0, "first"; fired != ""; call++ {
				token := other.create(t, fmt.Sprintf("mode%d-%d", mode, call))
				n.poll(t)
				n.want(t, token, "confirmed")
				if err := other.index.Delete(t.Context(), token.ID()); err != nil {
					t.Fatal(err)
				}
				faults.Fail(call, mode)
				err := n.index.Poll(t.Context())
				fired = faults.Stop()
				if (err != nil) != (fired != "") || n.index.Status().Err != err {
					t.Errorf("%.60q fails: got %v; the status has %v", fired, err, n.index.Status().Err)
				}
				n.poll(t)
				n.want(t, token, "refused")
				n.poll(t)
			}
		}
	})
}
