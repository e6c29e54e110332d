package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/svctoken/svctoken/examples/sqlserver/internal/dsn"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
)

// A store is where tokens are administered.
type store interface{ Close() }

// openStore opens the store of that name. An SQL index must have its tables, except for
// migrate. A file must exist for a command that reads its tokens: a mistyped path would
// look like a file without tokens.
func openStore(ctx context.Context, name, verb string) (store, error) {
	if path, ok := strings.CutPrefix(name, "file:"); ok {
		if _, err := os.Stat(path); err != nil && verb != "create" {
			return nil, fmt.Errorf("nothing was changed: %w (the command create makes a new file)", err)
		}
		file, err := filesource.Open(path, filesource.Config{Poll: -1})
		if err != nil {
			return nil, err
		}
		return fileStore{file}, nil
	}
	if path, ok := strings.CutPrefix(name, "sqlite:"); ok && verb != "migrate" {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("nothing was changed: %w (the command migrate makes a new index)", err) // SQLite would make an empty file
		}
	}
	s, err := dsn.Open(name, sqlindex.Config{Poll: -1})
	if err != nil {
		return nil, fmt.Errorf("-store: %w (or file:PATH, for a service_tokens file)%w", err, errUsage)
	}
	if verb == "migrate" {
		return sqlStore{s}, nil
	}
	err = s.Poll(ctx)
	if err == nil {
		err = s.Status().Err // the schema is not up to date
	}
	if err != nil {
		s.Close()
		if errors.Is(err, sqlindex.ErrFormat) {
			err = fmt.Errorf("%w (the command migrate makes the tables, or brings them up to date)", err)
		}
		return nil, fmt.Errorf("nothing was changed: %w", err)
	}
	return sqlStore{s}, nil
}

func printMigrations(w io.Writer, name string) error {
	dialect := sqlindex.PostgreSQL
	switch scheme, _, _ := strings.Cut(name, ":"); scheme {
	case "sqlite":
		dialect = sqlindex.SQLite
	case "postgres", "postgresql":
	default:
		return fmt.Errorf("migrations are of an SQL index%w", errUsage)
	}
	all, err := sqlindex.Migrations(dialect)
	for _, m := range all {
		fmt.Fprintf(w, "-- to version %d\n%s", m.Version, m)
	}
	return err
}

// A sqlStore is an SQL index.
type sqlStore struct{ *dsn.Store }

// A fileStore is a service_tokens file, which has the id and the hash of each token.
type fileStore struct{ *filesource.File }

// warnings returns the lines of the file that are not in force.
func (s fileStore) warnings() (lines []string) {
	st := s.Status()
	for _, w := range st.Warnings {
		lines = append(lines, s.Path()+":"+w.String())
	}
	if st.MoreWarnings > 0 {
		lines = append(lines, fmt.Sprintf("%s has %d more such lines", s.Path(), st.MoreWarnings))
	}
	return lines
}
