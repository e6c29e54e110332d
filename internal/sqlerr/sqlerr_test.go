package sqlerr_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/svctoken/svctoken/internal/sqlerr"
)

func TestKnown(t *testing.T) {
	own := errors.New("the driver's own")
	for _, err := range []error{
		context.DeadlineExceeded, context.Canceled, sql.ErrConnDone, sql.ErrTxDone, sql.ErrNoRows, driver.ErrBadConn,
		io.ErrUnexpectedEOF, io.EOF,
	} {
		if got := sqlerr.Known(fmt.Errorf("%w: %w", own, err)); got != err {
			t.Errorf("got %v, want %v alone", got, err)
		}
	}
	for _, err := range []error{nil, own} {
		if got := sqlerr.Known(err); got != nil {
			t.Errorf("of %v: got %v", err, got)
		}
	}
}
