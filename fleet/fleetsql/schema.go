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

// ErrFormat is wrapped by the error of [Open] if this version of the package cannot use
// the tables, and by the reason why a node does not serve after a later version has
// changed them. The tables say which versions may use them.
var ErrFormat = errors.New("the tables are of another version")

// Schema returns the statements that [Open] runs, in one transaction, for hosts that run
// them themselves. They do nothing if the tables exist. The error is for an unknown
// dialect.
func Schema(d Dialect) ([]string, error) {
	if d != SQLite && d != PostgreSQL {
		return nil, fmt.Errorf("fleetsql: %v is not known", d)
	}
	script, err := schemas.ReadFile("schema/" + strings.ToLower(d.String()) + ".sql")
	if err != nil {
		return nil, err
	}
	// Lines that hold two dashes alone separate the statements.
	statements := strings.Split(string(script), "\n--\n")
	for i, s := range statements {
		statements[i] = strings.TrimSpace(s)
	}
	return statements, nil
}

// tables matches the names of the tables, not those of the indexes, which begin alike.
var tables = regexp.MustCompile(`\bsvctoken_fleet_(log|messages|appends|sent)\b`)

// qualify puts the schema before the names of tables.
func (l *Log) qualify(statement string) string {
	if l.cfg.Schema == "" {
		return statement
	}
	return tables.ReplaceAllString(statement, `"`+l.cfg.Schema+`".$0`)
}

// sql returns a statement in the dialect, with the tables' schema.
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

// check returns an error if the package does not know these tables.
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

// checkReaders returns an error if a later version of the package has made the tables
// unusable for this one.
func checkReaders(readers int) error {
	if readers > format {
		return fmt.Errorf("fleetsql: %w: they are for versions from %d on, the package has %d", ErrFormat, readers, format)
	}
	return nil
}
