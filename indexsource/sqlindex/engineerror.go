package sqlindex

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/svctoken/svctoken/tokencache"
)

// An EngineError is what the database or its driver answered. Its text has no values
// of parameters in it, so that no password hash gets into a log. It unwraps to the
// errors of packages context, database/sql, driver and io that it wraps, and to
// tokencache.ErrClosed, but not to the driver's own, which may quote rows. If the tables
// are missing or of an older version, it unwraps to [ErrFormat].
type EngineError struct {
	Op       string // what was being done: "get", "poll", "create" and so on
	SQLState string // PostgreSQL's five characters, empty if there are none
	Text     string // the driver's message

	known error // what Unwrap returns
}

// Error names what was being done, and quotes the driver's message.
func (e *EngineError) Error() string {
	if errors.Is(e.known, ErrFormat) {
		return fmt.Sprintf("sqlindex: %s: %s: %v", e.Op, e.Text, ErrFormat)
	}
	return fmt.Sprintf("sqlindex: %s: %s", e.Op, e.Text)
}

// Unwrap returns the error that this one wraps, of a standard package or of this one, or
// nil.
func (e *EngineError) Unwrap() error { return e.known }

// knownErrors are what an EngineError may unwrap to, apart from ErrFormat.
var knownErrors = []error{
	tokencache.ErrClosed, context.DeadlineExceeded, context.Canceled, sql.ErrConnDone, sql.ErrTxDone, sql.ErrNoRows,
	driver.ErrBadConn, io.ErrUnexpectedEOF, io.EOF,
}

// wrap turns an error of the driver into an EngineError whose text has none of the
// secrets.
func wrap(op string, err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	e := &EngineError{Op: op, Text: err.Error()}
	for _, known := range knownErrors {
		if e.known == nil && errors.Is(err, known) {
			e.known = known
		}
	}
	if state, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		e.SQLState = state.SQLState()
	}
	if isNoSchema(e) {
		e.known = ErrFormat
	}
	for _, secret := range secrets {
		if secret != "" {
			e.Text = strings.ReplaceAll(e.Text, secret, "[redacted]")
		}
	}
	return e
}

// isNoSchema reports whether tables or columns are missing: there is no schema, or it has
// another version.
func isNoSchema(err error) bool {
	e, ok := errors.AsType[*EngineError](err)
	if !ok {
		return false
	}
	if e.SQLState != "" {
		return e.SQLState == "42P01" || e.SQLState == "42703"
	}
	return strings.Contains(e.Text, "no such table") || strings.Contains(e.Text, "no such column") || strings.Contains(e.Text, "has no column")
}
