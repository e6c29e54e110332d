package sqlindex

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
)

// An Engine is a database engine whose SQL the package speaks.
type Engine int

const (
	SQLite     Engine = iota + 1 // 3.35 or later
	PostgreSQL                   // 13 or later
)

// String returns the engine's name.
func (e Engine) String() string {
	switch e {
	case SQLite:
		return "SQLite"
	case PostgreSQL:
		return "PostgreSQL"
	default:
		return "unknown engine"
	}
}

// bind writes the parameters $1, $2 as the engine does: SQLite takes $1 for a name.
func (e Engine) bind(query string) string {
	if e == SQLite {
		return strings.ReplaceAll(query, "$", "?")
	}
	return query
}

// recovering is an expression: whether the server that answers is a replica.
func (e Engine) recovering() string {
	if e == PostgreSQL {
		return "pg_is_in_recovery()"
	}
	return "FALSE"
}

// triggers is an expression: how many of the schema's triggers are in force.
func (e Engine) triggers() string {
	if e == PostgreSQL {
		return `(SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('svctoken_tokens'::regclass, 'svctoken_meta'::regclass) AND tgname LIKE 'svctoken\_%' AND tgenabled = 'A')`
	}
	return `(SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'svctoken\_%' ESCAPE '\')`
}

// An EngineError is what the database or its driver answered. Its text has no values
// of parameters in it, so that no password hash gets into a log. It unwraps to the
// errors of packages context, database/sql, driver and io that it wraps, and to
// [ErrClosed], but not to the driver's own, which may quote rows. Where the tables are
// missing it unwraps to [ErrFormat].
type EngineError struct {
	Op       string // what was being done: "get", "poll", "create" and so on
	SQLState string // PostgreSQL's five characters, empty where there are none
	Text     string // the driver's message

	known error // what Unwrap returns
}

// Error names what was being done, and quotes the driver's message.
func (e *EngineError) Error() string { return fmt.Sprintf("sqlindex: %s: %s", e.Op, e.Text) }

// Unwrap returns the error that this one wraps, of a standard package or of this one, or
// nil.
func (e *EngineError) Unwrap() error { return e.known }

// knownErrors are what an EngineError may unwrap to, apart from ErrFormat.
var knownErrors = []error{
	ErrClosed, context.DeadlineExceeded, context.Canceled, sql.ErrConnDone, sql.ErrTxDone, sql.ErrNoRows,
	driver.ErrBadConn, io.ErrUnexpectedEOF, io.EOF,
}

// wrap turns an error of the driver into an EngineError. The secrets are texts that
// must not show.
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
	if isNoTable(e) {
		e.known = ErrFormat
	}
	for _, secret := range secrets {
		if secret != "" {
			e.Text = strings.ReplaceAll(e.Text, secret, "[redacted]")
		}
	}
	return e
}

// isNoTable reports whether the schema is not there.
func isNoTable(err error) bool {
	e, ok := errors.AsType[*EngineError](err)
	return ok && (e.SQLState == "42P01" || e.SQLState == "" && strings.Contains(e.Text, "no such table"))
}
