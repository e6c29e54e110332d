package fleetsql

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

//go:embed schema
var schemas embed.FS

// format is the version of the schema that this package reads and writes.
const format = 1

// ErrFormat is wrapped by the error of [Open] for a log whose tables this version of the
// package cannot use, and by the reason why a node does not serve, once a later version
// has changed them so. The tables say which versions still can.
var ErrFormat = errors.New("the tables are of another version")

// Schema returns the statements that [Open] runs, in one transaction, for hosts that
// run them themselves. They do nothing if the tables are there. The error is for a
// dialect that is not known.
func Schema(d Dialect) ([]string, error) {
	if d != SQLite && d != PostgreSQL {
		return nil, fmt.Errorf("fleetsql: %v is not known", d)
	}
	script, err := schemas.ReadFile("schema/" + strings.ToLower(d.String()) + ".sql")
	if err != nil {
		return nil, err
	}
	// Lines of two dashes alone stand between the statements.
	statements := strings.Split(string(script), "\n--\n")
	for i, s := range statements {
		statements[i] = strings.TrimSpace(s)
	}
	return statements, nil
}

// tables are the names of the tables, and not those of the indexes, which begin alike.
var tables = regexp.MustCompile(`\bsvctoken_fleet_(log|messages|appends|sent)\b`)

// qualify names the tables with their schema.
func (l *Log) qualify(statement string) string {
	if l.cfg.Schema == "" {
		return statement
	}
	return tables.ReplaceAllString(statement, `"`+l.cfg.Schema+`".$0`)
}

// sql writes a statement as the dialect has it, and names the tables with their schema.
func (l *Log) sql(statement string) string { return l.qualify(l.dialect.sql(statement)) }

// create creates the tables that are missing. Any number of processes may do so at once.
func (l *Log) create(ctx context.Context) error {
	statements, err := Schema(l.dialect)
	if err != nil {
		return err
	}
	return wrap("create", l.write(ctx, func(q querier) error {
		if l.dialect == PostgreSQL {
			statements = append([]string{"SELECT pg_advisory_xact_lock(hashtext('svctoken_fleet'))"}, statements...)
		}
		for _, s := range statements {
			if _, err := q.ExecContext(ctx, l.qualify(s)); err != nil {
				return err
			}
		}
		return nil
	}))
}

// check returns an error if the tables are not those that the package knows.
func (l *Log) check(ctx context.Context) error {
	var found, readers int
	if err := l.db.QueryRowContext(ctx, l.sql("SELECT format, readers FROM svctoken_fleet_log")).Scan(&found, &readers); err != nil {
		return wrap("open", err)
	}
	if found < format {
		return fmt.Errorf("fleetsql: open: %w: they have %d, the package %d", ErrFormat, found, format)
	}
	return checkReaders(readers)
}

// checkReaders returns an error if a later version of the package has left the tables
// to later versions.
func checkReaders(readers int) error {
	if readers > format {
		return fmt.Errorf("fleetsql: %w: they are for versions from %d on, the package has %d", ErrFormat, readers, format)
	}
	return nil
}
