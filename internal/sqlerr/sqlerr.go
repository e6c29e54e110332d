// Package sqlerr says which of the errors in a database driver's may be unwrapped.
package sqlerr

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
)

// Known returns the error of the standard library that err wraps, or nil. The driver's
// own are not to be unwrapped: PostgreSQL's quote rows, with password hashes in them.
func Known(err error) error {
	for _, known := range []error{
		context.DeadlineExceeded, context.Canceled, sql.ErrConnDone, sql.ErrTxDone, sql.ErrNoRows, driver.ErrBadConn,
		io.ErrUnexpectedEOF, io.EOF,
	} {
		if errors.Is(err, known) {
			return known
		}
	}
	return nil
}
