package fleetsql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/svctoken/svctoken/fleet/fleetsql"
)

// A refusing database answers everything with an error.
type refusing struct{ err error }

func (r refusing) Connect(context.Context) (driver.Conn, error) { return nil, r.err }
func (r refusing) Driver() driver.Driver                        { return nil }

// TestKnownErrors: callers can tell a deadline from an outage, also if it has caused one,
// and get nothing else of the driver's error.
func TestKnownErrors(t *testing.T) {
	for _, known := range []error{
		context.DeadlineExceeded, context.Canceled, sql.ErrConnDone, sql.ErrTxDone, sql.ErrNoRows, driver.ErrBadConn, io.ErrUnexpectedEOF, io.EOF,
	} {
		own := errors.New("the driver's own")
		db := sql.OpenDB(refusing{fmt.Errorf("%w: %w", own, known)})
		_, err := fleetsql.Open(t.Context(), db, fleetsql.PostgreSQL, fleetsql.Config{})
		if !errors.Is(err, known) || errors.Is(err, own) {
			t.Errorf("got %v, want %v in it alone", err, known)
		}
		db.Close()
	}
	db := sql.OpenDB(refusing{fmt.Errorf("%w: %w", io.EOF, context.DeadlineExceeded)})
	defer db.Close()
	_, err := fleetsql.Open(t.Context(), db, fleetsql.PostgreSQL, fleetsql.Config{})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the deadline in it", err)
	}
}
