package fleetsql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// A Dialect is the SQL of a database engine.
type Dialect int

const (
	SQLite     Dialect = iota + 1 // 3.35 or later
	PostgreSQL                    // 13 or later
)

// String returns the database engine's name.
func (d Dialect) String() string {
	switch d {
	case SQLite:
		return "SQLite"
	case PostgreSQL:
		return "PostgreSQL"
	default:
		return fmt.Sprintf("dialect %d", int(d))
	}
}

// sql returns a statement in the dialect. It replaces $1 by a parameter, {now} by the
// milliseconds since 1970, {server} by a text that differs after the server was
// restarted, and {durable} by whether a commit waits until it is durable.
func (d Dialect) sql(statement string) string {
	if d == SQLite {
		return inSQLite.Replace(statement)
	}
	return inPostgreSQL.Replace(statement)
}

var (
	inSQLite = strings.NewReplacer("$", "?", "{now}", "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
		"{server}", "''", "{durable}", "TRUE")
	inPostgreSQL = strings.NewReplacer("{now}", "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
		"{server}", "CAST(CAST(extract(epoch FROM pg_postmaster_start_time()) * 1000000 AS BIGINT) AS TEXT)", // in no time zone
		"{durable}", "current_setting('synchronous_commit') NOT IN ('off', 'local')")
)

// A querier is a connection, a transaction, or a database.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// write runs do in a transaction that no other writer can interrupt, and commits it
// unless do returns an error.
func (l *Log) write(ctx context.Context, do func(querier) error) error {
	if l.dialect == SQLite {
		return l.writeSQLite(ctx, do)
	}
	tx, err := l.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelReadCommitted}) // each statement sees what was committed before it
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return committed(ctx)
}

// committed returns an error if the context had ended when a commit was answered. When
// their context ends, some drivers cancel at the server what they wait for; and if the
// wait of a commit for its synchronous standby is cancelled, PostgreSQL answers with
// success. So the outcome is unknown, and another attempt waits again.
func committed(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("a commit whose context ended may not have reached the standby: %w", err)
	}
	return nil
}

// writeSQLite begins as a writer: a transaction that has read cannot become a writer
// after somebody else has written.
func (l *Log) writeSQLite(ctx context.Context, do func(querier) error) error {
	conn, err := l.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err = conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err == nil {
		err = do(conn)
	}
	if err == nil {
		if _, err = conn.ExecContext(ctx, "COMMIT"); err == nil {
			return committed(ctx)
		}
	}
	if _, rollbackErr := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); rollbackErr != nil {
		conn.Raw(func(any) error { return driver.ErrBadConn }) // the connection may still be in the transaction
	}
	return err
}

// A databaseError has the text of the driver's error. It unwraps to errors of the
// standard library alone: those of PostgreSQL's drivers quote rows.
type databaseError struct {
	text  string
	known error
}

func (e *databaseError) Error() string { return e.text }
func (e *databaseError) Unwrap() error { return e.known }

// wrap adds what was being done.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	for _, own := range []error{fleetlog.ErrConflict, ErrFormat, ErrNotDurable, ErrReplaced} {
		if errors.Is(err, own) {
			return err
		}
	}
	e := &databaseError{text: "fleetsql: " + op + ": " + err.Error()}
	for _, standard := range []error{
		context.DeadlineExceeded, context.Canceled, sql.ErrConnDone, sql.ErrTxDone, sql.ErrNoRows, driver.ErrBadConn, io.ErrUnexpectedEOF, io.EOF,
	} {
		if errors.Is(err, standard) {
			e.known = standard
			break
		}
	}
	return e
}
