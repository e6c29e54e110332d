package sqlindex_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
)

// operations are the methods of an index that ask the database, by what their errors call
// them. Each returns what it should not return with an error.
func operations(ix *sqlindex.Index) map[string]func(context.Context) (any, error) {
	id, evictor := fleet.TokenID("token1"), ix.Evictor(tokencache.NewGroup(tokencache.GroupConfig{}))
	nothing := func(do func(context.Context) error) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return nil, do(ctx) }
	}
	return map[string]func(context.Context) (any, error){
		"get": func(ctx context.Context) (any, error) {
			doc, ok, err := ix.Get(ctx, id)
			return [2]any{doc, ok}, err
		},
		"list":           func(ctx context.Context) (any, error) { return ix.List(ctx, fleet) },
		"last uses":      func(ctx context.Context) (any, error) { return ix.LastUses(ctx, fleet) },
		"history":        func(ctx context.Context) (any, error) { return ix.History(ctx, fleet, "token1", 0) },
		"poll":           nothing(ix.Poll),
		"create":         func(ctx context.Context) (any, error) { return ix.Create(ctx, id, "me") },
		"put":            nothing(func(ctx context.Context) error { return ix.Put(ctx, indexsource.Document{Token: id}) }),
		"rotate":         func(ctx context.Context) (any, error) { return ix.Rotate(ctx, id, 0, "me") },
		"set expiry":     nothing(func(ctx context.Context) error { return ix.SetExpiry(ctx, id, time.Time{}) }),
		"set enabled":    nothing(func(ctx context.Context) error { return ix.SetEnabled(ctx, id, true) }),
		"delete":         nothing(func(ctx context.Context) error { return ix.Delete(ctx, id) }),
		"delete account": func(ctx context.Context) (any, error) { return ix.DeleteAccount(ctx, fleet) },
		"renew":          nothing(ix.Renew),
		"evict": nothing(func(ctx context.Context) error {
			_, err := evictor.Evict(ctx, "elastic", "fleet-server", "*")
			return err
		}),
		"note uses": nothing(func(ctx context.Context) error {
			return ix.NoteUses(ctx, map[tokencache.TokenID]time.Time{id: time.Now()})
		}),
		"migrate": nothing(ix.Migrate),
	}
}

// TestEveryOperationFails: whichever statement of an operation fails, the error says
// which operation it was, and nothing else is returned.
func TestEveryOperationFails(t *testing.T) {
	for _, dialect := range []sqlindex.Dialect{sqlindex.PostgreSQL, sqlindex.SQLite} {
		for name := range operations(new(sqlindex.Index)) {
			t.Run(fmt.Sprintf("%v, %s", dialect, name), func(t *testing.T) {
				for n := 0; failsAt(t, dialect, name, n); n++ {
				}
			})
		}
	}
}

// failsAt makes the statement n of an operation fail, and reports whether there is one.
func failsAt(t *testing.T, dialect sqlindex.Dialect, name string, n int) (failed bool) {
	t.Helper()
	db, ix := openFakeAs(t, dialect, sqlindex.Config{})
	left := n
	db.err = func([]driver.NamedValue) error {
		if left--; left >= 0 {
			return nil
		}
		failed = true
		return errOutage
	}
	if name == "migrate" {
		db.rows = [][]driver.Value{{int64(0)}} // there are no tables yet
	}
	got, err := operations(ix)[name](t.Context())
	if !failed {
		if n == 0 {
			t.Error("it asks nothing")
		}
		return false
	}
	want := "sqlindex: " + name + ": connection refused"
	if err == nil || err.Error() != want {
		t.Errorf("statement %d fails: got %v, want %s", n, err, want)
	}
	checkNothing(t, name, got)
	return true
}

// checkNothing fails if there is something beside an error.
func checkNothing(t *testing.T, name string, got any) {
	t.Helper()
	switch v := reflect.ValueOf(got); {
	case !v.IsValid(), v.IsZero():
	case name == "get" && got == [2]any{indexsource.Document{}, false}:
	default:
		t.Errorf("%s: with the error it returns %v", name, got)
	}
}

// TestClosedIndex: every operation of a closed index says that it is closed, and asks the
// database nothing.
func TestClosedIndex(t *testing.T) {
	db, ix := openFake(t, sqlindex.Config{})
	all := operations(ix)
	delete(all, "migrate")
	ix.Close()
	db.set(func() { db.asked = nil })
	for name, do := range all {
		got, err := do(t.Context())
		if !errors.Is(err, tokencache.ErrClosed) || err.Error() != "sqlindex: "+tokencache.ErrClosed.Error() {
			t.Errorf("%s: got %v", name, err)
		}
		checkNothing(t, name, got)
	}
	if len(db.asked) > 0 {
		t.Errorf("it asks %q", db.asked)
	}
}

// TestRowsThatFail: an answer that ends with an error, or that cannot be read, is an
// error of its operation: a list that lacks rows would be a list of fewer tokens.
func TestRowsThatFail(t *testing.T) {
	token := []driver.Value{"elastic", "fleet-server", "token1", int64(1), "me", true, nil, nil, "", nil}
	for name, test := range map[string]struct {
		rows [][]driver.Value
		want string
	}{
		"list":      {[][]driver.Value{token, token}, "[{elastic/fleet-server/token1 "},
		"last uses": {[][]driver.Value{{"token1", int64(1000)}}, "map[token1:1970-01-01 "},
		"history":   {[][]driver.Value{{int64(1000), int64(7), "elastic", "fleet-server", "token1", "created", "me"}}, "[{1970-01-01 "},
	} {
		db, ix := openFake(t, sqlindex.Config{})
		do := operations(ix)[name]
		db.set(func() { db.rows = test.rows })
		got, err := do(t.Context())
		if text := fmt.Sprint(got); err != nil || !strings.HasPrefix(text, test.want) {
			t.Errorf("%s: got %v, %v, want %s", name, got, err, test.want)
		}
		db.set(func() { db.rowsErr = errOutage })
		if _, err := do(t.Context()); err == nil || err.Error() != "sqlindex: "+name+": connection refused" {
			t.Errorf("%s, after the rows: got %v", name, err)
		}
		db.set(func() { db.rows, db.rowsErr = [][]driver.Value{{struct{}{}}}, nil })
		got, err = do(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), "sqlindex: "+name+": ") {
			t.Errorf("%s, a row that cannot be read: got %v", name, err)
		}
		checkNothing(t, name, got)
	}
}

// TestHistoryAsks: what a history is asked for: an account, a token of it, or everything,
// and no more than 1000 lines unless the caller wants more.
func TestHistoryAsks(t *testing.T) {
	for _, test := range []struct {
		account tokencache.Account
		name    string
		limit   int
		want    string
	}{
		{tokencache.Account{}, "", 0, "ORDER BY at DESC, rev DESC LIMIT $1 | 1000"},
		{tokencache.Account{}, "", -1, "ORDER BY at DESC, rev DESC LIMIT $1 | 1000"},
		{tokencache.Account{}, "token1", 5000, "ORDER BY at DESC, rev DESC LIMIT $1 | 5000"},
		{fleet, "", 1, "WHERE namespace = $2 AND service = $3 ORDER BY at DESC, rev DESC LIMIT $1 | 1 | elastic | fleet-server"},
		{fleet, "token1", 2, "WHERE namespace = $2 AND service = $3 AND name = $4 ORDER BY at DESC, rev DESC LIMIT $1 | 2 | elastic | fleet-server | token1"},
	} {
		db, ix := openFake(t, sqlindex.Config{})
		db.set(func() { db.rows = [][]driver.Value{} })
		if _, err := ix.History(t.Context(), test.account, test.name, test.limit); err != nil {
			t.Fatal(err)
		}
		const begin = "SELECT at, rev, namespace, service, name, what, actor FROM svctoken_history "
		if want := []string{begin + test.want}; !reflect.DeepEqual(db.asked, want) {
			t.Errorf("got %q, want %q", db.asked, want)
		}
	}
}

// TestTexts: the texts of an index's errors, which operators search for.
func TestTexts(t *testing.T) {
	for err, want := range map[error]string{
		sqlindex.ErrReplica:     "the database is a replica",
		sqlindex.ErrBehind:      "the database is behind what was seen already",
		sqlindex.ErrReplaced:    "the database file was removed or replaced: if it does not come back, restart the process",
		sqlindex.ErrJournal:     "journal_mode must be WAL, or another one that survives a crash",
		sqlindex.ErrFormat:      "the schema is missing, of a version that this program cannot read, or its triggers are not in force",
		sqlindex.ErrUnconfirmed: "the change may be in force or not",
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}
