package sqlindex

import (
	"context"
	"database/sql"
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
// one that is missing or older.
var ErrFormat = errors.New("the schema is missing or of another version, or its triggers are not in force")

var (
	// formatOf says which version of the schema this package reads and writes.
	formatOf = map[Engine]int{SQLite: 2, PostgreSQL: 3}

	// triggersOf says how many triggers that schema has.
	triggersOf = map[Engine]int{SQLite: 6, PostgreSQL: 6}
)

// A Migration takes a schema from one version to the next.
type Migration struct {
	Version    int      // of the schema afterwards
	Statements []string // to run in one transaction
}

// String returns the migration as a script, for those who run their own.
func (m Migration) String() string {
	return "BEGIN;\n" + strings.Join(m.Statements, ";\n") + ";\nCOMMIT;\n"
}

// Migrations returns all migrations of an engine, oldest first. An empty database,
// or on PostgreSQL an empty schema that comes first in the search_path, needs them
// all. The error is for an engine that is not known.
func Migrations(engine Engine) ([]Migration, error) {
	var names []string
	switch engine {
	case SQLite:
		names = []string{"sqlite_1.sql", "sqlite_2.sql"}
	case PostgreSQL:
		names = []string{"postgresql_1.sql", "postgresql_2.sql", "postgresql_3.sql"}
	default:
		return nil, fmt.Errorf("sqlindex: %v", engine)
	}
	var all []Migration
	for i, name := range names {
		text, err := schema.ReadFile("schema/" + name)
		if err != nil {
			return nil, err
		}
		all = append(all, Migration{i + 1, statements(string(text))})
	}
	return all, nil
}

// statements takes a script apart, at lines that hold two dashes alone. Semicolons
// would not do: triggers contain some.
func statements(script string) []string {
	var list []string
	for part := range strings.SplitSeq(script, "\n--\n") {
		list = append(list, strings.TrimSuffix(strings.TrimSpace(part), ";"))
	}
	return list
}

// Migrate creates the schema, or brings an older one up to date. Any number of
// processes may call it at once. A schema that is newer than this package is an
// error that wraps [ErrFormat].
func (ix *Index) Migrate(ctx context.Context) error {
	all, err := Migrations(ix.engine)
	if err != nil {
		return err
	}
	conn, err := ix.db.Conn(ctx)
	if err != nil {
		return wrap("migrate", err)
	}
	defer conn.Close()
	begin := []string{"BEGIN IMMEDIATE"} // a transaction that begins as a reader cannot become a writer after another
	if ix.engine == PostgreSQL {
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
	if endErr := execAll(context.WithoutCancel(ctx), conn, []string{end}); err == nil {
		err = endErr
	}
	ix.Nudge()
	return err
}

// migrate runs, in a transaction, those migrations that the schema does not have.
func (ix *Index) migrate(ctx context.Context, conn *sql.Conn, all []Migration) error {
	version, err := ix.version(ctx, conn)
	if err != nil {
		return err
	}
	if version > len(all) {
		return fmt.Errorf("sqlindex: migrate: %w: it has %d, the package %d", ErrFormat, version, len(all))
	}
	for _, m := range all[version:] {
		if err := execAll(ctx, conn, m.Statements); err != nil {
			return err
		}
	}
	return nil
}

// version returns the schema's version, or 0 where there is no schema.
func (ix *Index) version(ctx context.Context, conn *sql.Conn) (version int, err error) {
	exists := "SELECT count(*) FROM sqlite_schema WHERE name = 'svctoken_meta'"
	if ix.engine == PostgreSQL {
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
