package sqlindex_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// TestErrorsShowNoHash: no error shows a password hash, even if the driver quotes the
// parameters.
func TestErrorsShowNoHash(t *testing.T) {
	db, ix := openFake(t, sqlindex.Config{})
	db.set(func() {
		db.err = func(args []driver.NamedValue) error {
			if len(args) == 1 {
				return nil // who does it
			}
			return quoting{fmt.Sprintf("violates: %v", args)}
		}
	})
	const text = "{SSHA256}AAECAwQFBgc=wWZbSSQlbfWMkwfCRhqHNxCEGLEUTKc/nNCOWZOfNzc="
	hash, err := tokenhash.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	ctx, id := t.Context(), fleet.TokenID("token1")
	_, createErr := ix.Create(ctx, id, "me")
	_, rotateErr := ix.Rotate(ctx, id, time.Hour, "me")
	for op, err := range map[string]error{
		"put":    ix.Put(ctx, indexsource.Document{Token: id, Hash: hash}),
		"create": createErr,
		"rotate": rotateErr,
	} {
		for _, shown := range []string{fmt.Sprintf("%v", err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), fmt.Sprintf("%+v", errors.Unwrap(err))} {
			if strings.Contains(shown, "wWZb") || strings.Contains(shown, "SSHA256") {
				t.Errorf("%s: the hash shows: %s", op, shown)
			}
		}
		e, ok := errors.AsType[*sqlindex.EngineError](err)
		if !ok || e.Op != op || e.SQLState != "23514" || !strings.Contains(e.Text, "elastic") {
			t.Errorf("%s: got %#v", op, err)
		}
	}
}

type quoting struct{ text string }

func (q quoting) Error() string    { return q.text }
func (q quoting) SQLState() string { return "23514" }

// TestStoredHash: an invalid text in the column of a hash is an error, not a refusal, and
// the error does not show the text.
func TestStoredHash(t *testing.T) {
	db, ix := openFake(t, sqlindex.Config{})
	db.set(func() { db.hash = "plaintext-secret" })
	_, ok, err := ix.Get(t.Context(), fleet.TokenID("token1"))
	if ok || err == nil || strings.Contains(err.Error(), "plaintext-secret") || !strings.HasPrefix(err.Error(), "sqlindex: token elastic/fleet-server/token1: password hash: ") {
		t.Errorf("got %v, %v", ok, err)
	}
}

// TestKnownErrors: callers can tell a deadline from an outage, and get nothing else of
// the driver's error.
func TestKnownErrors(t *testing.T) {
	db, ix := openFake(t, sqlindex.Config{})
	for _, known := range []error{
		context.DeadlineExceeded, context.Canceled, sql.ErrConnDone, sql.ErrTxDone, sql.ErrNoRows, driver.ErrBadConn,
		io.ErrUnexpectedEOF, io.EOF,
	} {
		own := quoting{"pool"}
		db.fail(fmt.Errorf("%w: %w", own, known))
		if _, _, err := ix.Get(t.Context(), fleet.TokenID("x")); !errors.Is(err, known) || errors.Is(err, own) {
			t.Errorf("got %v, want %v in it alone", err, known)
		}
	}
}

func TestNames(t *testing.T) {
	_, ix := openFake(t, sqlindex.Config{})
	if got := fmt.Sprint(sqlindex.SQLite, ", ", sqlindex.PostgreSQL, ", ", sqlindex.Dialect(7)); got != "SQLite, PostgreSQL, unknown dialect" {
		t.Error(got)
	}
	if _, err := ix.Create(t.Context(), fleet.TokenID("_x"), "me"); err == nil {
		t.Error("a name that breaks the rules is taken")
	} else if _, ok := errors.AsType[*tokencache.NameError](err); !ok {
		t.Errorf("got %v", err)
	}
	if _, err := ix.Create(t.Context(), fleet.TokenID("x"), "a\x00b"); err == nil {
		t.Error("a creator with a NUL is taken")
	}
}
