package sqlindex

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"slices"
	"strings"
)

//go:embed schema
var schema embed.FS

// ErrFormat is wrapped by the errors of an index whose schema is missing, of another
// version than this package's, or without some of its triggers. [Index.Migrate] mends
// one that is missing or older. For one that is newer, and says that this package must
// not read it, install a newer package.
var ErrFormat = errors.New("the schema is missing, of a version that this program cannot read, or its triggers are not in force")

// schemaVersion is the version of the schema that this package makes. It reads that one,
// and later ones that say so in svctoken_meta.readable_by.
const schemaVersion = 4

// triggersOf says how many triggers that schema has.
var triggersOf = map[Dialect]int{SQLite: 5, PostgreSQL: 6}

// A format is what an index says of its schema.
type format struct{ version, readableBy int }

// check fails if this package cannot read the schema.
func (f format) check() error {
	switch {
	case f.version < schemaVersion:
		return fmt.Errorf("%w: it has version %d, the program %d: migrate it", ErrFormat, f.version, schemaVersion)
	case f.readableBy > schemaVersion:
		return fmt.Errorf("%w: it has version %d, and needs programs of version %d or later; this one has %d", ErrFormat, f.version, f.readableBy, schemaVersion)
	default:
		return nil
	}
}

// A Migration takes a schema from one version to the next.
type Migration struct {
	Version    int      // of the schema afterwards
	Statements []string // to run in one transaction
}

// String returns the migration as a script, for hosts that run their own.
func (m Migration) String() string {
	return "BEGIN;\n" + strings.Join(m.Statements, ";\n") + ";\nCOMMIT;\n"
}

// Migrations returns all migrations of a dialect, oldest first. An empty database,
// or on PostgreSQL an empty schema that comes first in the search_path, needs them
// all. The error is for a dialect that is not known.
func Migrations(dialect Dialect) ([]Migration, error) {
	var versions []int
	switch dialect {
	case SQLite:
		versions = []int{1, 2, 4} // 3 was PostgreSQL's alone
	case PostgreSQL:
		versions = []int{1, 2, 3, 4}
	default:
		return nil, fmt.Errorf("sqlindex: %v", dialect)
	}
	var all []Migration
	for _, version := range versions {
		text, err := schema.ReadFile(fmt.Sprintf("schema/%s_%d.sql", strings.ToLower(dialect.String()), version))
		if err != nil {
			return nil, err
		}
		all = append(all, Migration{version, statements(string(text))})
	}
	return all, nil
}

// statements splits a script at lines that hold two dashes alone. Semicolons would not
// do: triggers contain some.
func statements(script string) []string {
	var list []string
	for part := range strings.SplitSeq(script, "\n--\n") {
		list = append(list, strings.TrimSuffix(strings.TrimSpace(part), ";"))
	}
	return list
}

// Migrate creates the schema, or brings an older one up to date. Any number of processes
// may call it at once. It leaves a schema alone that is newer than this package; if this
// package cannot read that, the error wraps [ErrFormat]. Programs that know only earlier
// versions of the schema fail from then on, and confirm nothing.
func (ix *Index) Migrate(ctx context.Context) error {
	all, err := Migrations(ix.dialect)
	if err != nil {
		return err
	}
	conn, err := ix.db.Conn(ctx)
	if err != nil {
		return wrap("migrate", err)
	}
	defer conn.Close()
	if ix.dialect == SQLite {
		if err := checkJournal(ctx, conn); err != nil {
			return fmt.Errorf("sqlindex: migrate: %w", err)
		}
	}
	begin := []string{"BEGIN IMMEDIATE"} // a transaction that begins as a reader cannot become a writer after another
	if ix.dialect == PostgreSQL {
		begin = []string{"BEGIN", "SELECT pg_advisory_xact_lock(hashtext('svctoken'))"}
	}
	err = execAll(ctx, conn, begin)
	if err == nil {
		err = ix.migrate(ctx, conn, all)
	}
	end := "COMMIT"
	if err != nil {
		end = "ROLLBACK"
	}
	if endErr := execAll(context.WithoutCancel(ctx), conn, []string{end}); endErr != nil {
		conn.Raw(func(any) error { return driver.ErrBadConn }) // the connection may still be in the transaction
		err = cmp.Or(err, endErr)
	}
	ix.Nudge()
	return err
}

// migrate runs, in one transaction, the migrations that the schema lacks.
func (ix *Index) migrate(ctx context.Context, conn *sql.Conn, all []Migration) error {
	version, err := ix.version(ctx, conn)
	if err != nil {
		return err
	}
	for _, m := range all {
		if m.Version > version {
			err = execAll(ctx, conn, m.Statements)
		}
		if err != nil {
			return err
		}
	}
	if version <= schemaVersion {
		return nil
	}
	f := format{version: version}
	if err := conn.QueryRowContext(ctx, "SELECT readable_by FROM svctoken_meta").Scan(&f.readableBy); err != nil {
		return wrap("migrate", err)
	}
	if err := f.check(); err != nil {
		return fmt.Errorf("sqlindex: migrate: %w", err)
	}
	return nil
}

// version returns the schema's version, or 0 if there is no schema.
func (ix *Index) version(ctx context.Context, conn *sql.Conn) (version int, err error) {
	exists := "SELECT count(*) FROM sqlite_schema WHERE name = 'svctoken_meta'"
	if ix.dialect == PostgreSQL {
		exists = "SELECT count(*) FROM pg_class WHERE oid = to_regclass('svctoken_meta')"
	}
	var tables int
	if err := conn.QueryRowContext(ctx, exists).Scan(&tables); err != nil || tables == 0 {
		return 0, wrap("migrate", err)
	}
	err = conn.QueryRowContext(ctx, "SELECT format FROM svctoken_meta").Scan(&version)
	return version, wrap("migrate", err)
}

func execAll(ctx context.Context, conn *sql.Conn, list []string) error {
	for statement := range slices.Values(list) {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return wrap("migrate", err)
		}
	}
	return nil
}
