// Package dsn opens the SQL index that a command line names: sqlite:PATH, or a URL of
// PostgreSQL.
package dsn

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/indexsource/sqlindex/pglisten"
)

// Usage says what a command line may name.
const Usage = "sqlite:PATH, or postgres://USER@HOST/DATABASE (the password from PGPASSWORD or a .pgpass file)"

// A Store is an open index, with its handle.
type Store struct {
	*sqlindex.Index
	Name string // without a password

	db       *sql.DB
	postgres *pgx.ConnConfig // nil: SQLite
	listener *pglisten.Listener
}

// Open opens the index of that name. The database need not be up. The error has no
// password in it.
func Open(name string, cfg sqlindex.Config) (*Store, error) {
	scheme, rest, _ := strings.Cut(name, ":")
	var s *Store
	var err error
	engine := sqlindex.PostgreSQL
	switch scheme {
	case "sqlite":
		engine = sqlindex.SQLite
		s, err = openSQLite(rest)
	case "postgres", "postgresql":
		s, err = openPostgres(name)
	default:
		return nil, errors.New("must be " + Usage)
	}
	if err != nil {
		return nil, err
	}
	if s.Index, err = sqlindex.New(s.db, engine, cfg); err != nil {
		s.db.Close()
		return nil, err
	}
	return s, nil
}

func openSQLite(path string) (*Store, error) {
	if path == "" {
		return nil, errors.New("sqlite: needs a path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// A user who may read the file may read the hashes. SQLite gives -wal and -shm its
	// mode.
	if file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		file.Close()
	}
	// WAL lets readers continue while somebody writes; FULL keeps a revocation through a
	// loss of power.
	db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: path}).EscapedPath()+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	return &Store{Name: "SQLite " + path, db: db}, err
}

func openPostgres(name string) (*Store, error) {
	cfg, err := pgx.ParseConfig(name)
	if err != nil {
		return nil, errors.New("the URL of PostgreSQL cannot be read; it must be postgres://USER@HOST/DATABASE") // it may have a password
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxIdleConns(8) // opening a connection takes longer than a statement
	return &Store{Name: fmt.Sprintf("PostgreSQL %s/%s", cfg.Host, cfg.Database), db: db, postgres: cfg}, nil
}

// Listen makes PostgreSQL notify of changes at once. It does nothing for SQLite, where
// polls are enough.
func (s *Store) Listen(cfg pglisten.Config) {
	if s.postgres != nil && s.listener == nil {
		s.listener = pglisten.Listen(s.postgres, s.Notified, cfg)
	}
}

// Close ends everything that Open and Listen have started.
func (s *Store) Close() {
	if s.listener != nil {
		s.listener.Close()
	}
	s.Index.Close()
	s.db.Close()
}
