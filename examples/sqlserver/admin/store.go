package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/svctoken/svctoken/examples/sqlserver/internal/dsn"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
)

// errAbsent is wrapped where there is no such token.
var errAbsent = errors.New("no such token")

// A store is where tokens are administered. Its errors wrap errAbsent or
// tokencache.ErrNotFound, and tokencache.ErrExists. A token
// that is returned with an error is in force.
type store interface {
	create(ctx context.Context, id tokencache.TokenID, creator string) (tokencache.Token, error)
	rotate(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error)
	setEnabled(ctx context.Context, id tokencache.TokenID, enabled bool) error
	remove(ctx context.Context, id tokencache.TokenID) error
	list(ctx context.Context, account tokencache.Account, print func(...string) error) error
	migrate(ctx context.Context) error
	Close()
}

// openStore opens the store of that name. An SQL index must be there, with its tables,
// unless it is opened for migrate, and a file for what reads its tokens: the path may be
// mistyped, and a file that is missing has none.
func openStore(ctx context.Context, name, verb string) (store, error) {
	if path, ok := strings.CutPrefix(name, "file:"); ok {
		if _, err := os.Stat(path); err != nil && (verb == "list" || verb == "delete" || verb == "rotate") {
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
	s, err := dsn.Open(name, sqlindex.Config{})
	if err != nil {
		return nil, fmt.Errorf("-store: %w (or file:PATH, for a service_tokens file)%w", err, errUsage)
	}
	if verb == "migrate" {
		return sqlStore{s}, nil
	}
	err = s.Poll(ctx)
	if err == nil {
		err = s.Status().Err // of a schema that is not up to date
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
	engine := sqlindex.PostgreSQL
	switch scheme, _, _ := strings.Cut(name, ":"); scheme {
	case "sqlite":
		engine = sqlindex.SQLite
	case "postgres", "postgresql":
	default:
		return fmt.Errorf("migrations are of an SQL index%w", errUsage)
	}
	all, err := sqlindex.Migrations(engine)
	for _, m := range all {
		fmt.Fprintf(w, "-- to version %d\n%s", m.Version, m)
	}
	return err
}

// A sqlStore is an SQL index.
type sqlStore struct{ *dsn.Store }

// unsure adds to an error of the database that the change may be in force.
func unsure(err error) error {
	if _, ok := errors.AsType[*sqlindex.EngineError](err); ok {
		return fmt.Errorf("%w (the change may be in force or not)", err)
	}
	return err
}

func found(ok bool, id tokencache.TokenID, err error) error {
	if err == nil && !ok {
		return fmt.Errorf("%w: %s", errAbsent, id)
	}
	return unsure(err)
}

func (s sqlStore) create(ctx context.Context, id tokencache.TokenID, creator string) (tokencache.Token, error) {
	token, err := s.Create(ctx, id, creator)
	return token, unsure(err)
}

func (s sqlStore) rotate(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
	token, err := s.Rotate(ctx, id, 0, "")
	return token, unsure(err)
}

func (s sqlStore) setEnabled(ctx context.Context, id tokencache.TokenID, enabled bool) error {
	return unsure(s.SetEnabled(ctx, id, enabled))
}

func (s sqlStore) remove(ctx context.Context, id tokencache.TokenID) error {
	return unsure(s.Delete(ctx, id))
}

func (s sqlStore) list(ctx context.Context, account tokencache.Account, print func(...string) error) error {
	for doc, err := range s.All(ctx) {
		if err != nil {
			return err
		}
		if account != (tokencache.Account{}) && doc.Token.Account != account {
			continue
		}
		enabled := "enabled"
		if !doc.Enabled {
			enabled = "disabled"
		}
		if err := print(doc.Token.String(), enabled, doc.Created.UTC().Format(time.RFC3339), fmt.Sprintf("%q", doc.Creator)); err != nil {
			return err
		}
	}
	return nil
}

func (s sqlStore) migrate(ctx context.Context) error { return s.Migrate(ctx) }

// A fileStore is a service_tokens file, which says of a token its id and its hash.
type fileStore struct{ *filesource.File }

func (s fileStore) create(ctx context.Context, id tokencache.TokenID, _ string) (tokencache.Token, error) {
	return s.Create(ctx, id)
}

func (s fileStore) rotate(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
	return s.Rotate(ctx, id)
}

func (s fileStore) setEnabled(_ context.Context, _ tokencache.TokenID, _ bool) error {
	return fmt.Errorf("a token in a file cannot be disabled: delete it, or rotate it%w", errUsage)
}

func (s fileStore) remove(ctx context.Context, id tokencache.TokenID) error {
	return s.Delete(ctx, id)
}

// warnings returns what the file says that is not in force.
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

func (s fileStore) list(_ context.Context, account tokencache.Account, print func(...string) error) error {
	for _, id := range s.List() {
		if account == (tokencache.Account{}) || account == id.Account {
			if err := print(id.String(), "enabled"); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s fileStore) migrate(context.Context) error {
	return fmt.Errorf("a file has no tables to migrate%w", errUsage)
}

func (s fileStore) Close() { s.File.Close() }
