package sqlindex

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
)

// A pinned is the connection on which an index on SQLite polls. SQLite counts, for each
// connection, the commits of all others: while the count stays the same, nothing has
// changed, and the poll reads no table. The zero pinned has no connection yet.
type pinned struct {
	conn    *sql.Conn
	version int64 // PRAGMA data_version at the last poll that succeeded
	path    string
	file    os.FileInfo // when the first connection was opened

	// beside are the files -wal and -shm, as the connection uses them: a process that
	// opens the database when they are gone makes new ones, and neither side sees what
	// the other writes. Nil: the connection has not read yet, or there are none.
	beside map[string]os.FileInfo
}

// look reads what has changed, as Index.look does.
func (p *pinned) look(ctx context.Context, ix *Index, seen position) (news, error) {
	if p.conn == nil {
		if err := p.open(ctx, ix.db); errors.Is(err, ErrJournal) {
			return news{}, fmt.Errorf("sqlindex: poll: %w", err)
		} else if err != nil {
			return news{}, wrap("poll", err)
		}
	}
	n, err := p.read(ctx, ix, seen)
	switch {
	case errors.Is(err, ErrReplaced):
		p.version = -1 // if the file comes back, it must be read
	case err != nil:
		p.drop() // the connection may be broken
	}
	return n, err
}

func (p *pinned) open(ctx context.Context, db *sql.DB) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	var number int
	var name string
	var path sql.NullString
	if err := conn.QueryRowContext(ctx, "PRAGMA database_list").Scan(&number, &name, &path); err != nil {
		conn.Close()
		return err
	}
	if err := checkJournal(ctx, conn); err != nil {
		conn.Close()
		return err
	}
	p.conn, p.version = conn, -1
	if p.file == nil && path.String != "" {
		p.path = path.String
		p.file, _ = os.Stat(p.path)
	}
	return nil
}

// drop gives the connection back. The file stays known: a connection of the pool may
// be older than this one.
func (p *pinned) drop() {
	if p.conn != nil {
		p.conn.Close()
		p.conn, p.beside = nil, nil
	}
}

func (p *pinned) read(ctx context.Context, ix *Index, seen position) (news, error) {
	if err := p.checkFiles(); err != nil {
		return news{}, err
	}
	var version int64
	if err := p.conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
		return news{}, wrap("poll", err)
	}
	if version == p.version && seen.uuid != "" {
		return news{same: true}, nil
	}
	rows, err := p.conn.QueryContext(ctx, ix.poll.query, seen.rev, manyChanges+1)
	if err != nil {
		return news{}, wrap("poll", err)
	}
	n, err := ix.readNews(rows, seen)
	if err == nil {
		p.version = version // read before the rows: a commit in between is read twice, not missed
		p.lookBeside()
	}
	return n, err
}

// lookBeside notes which files are beside the database's. As long as the connection is
// open, SQLite itself does not remove them.
func (p *pinned) lookBeside() {
	if p.beside != nil || p.file == nil {
		return
	}
	p.beside = make(map[string]os.FileInfo)
	for _, suffix := range []string{"-wal", "-shm"} {
		if info, err := os.Stat(p.path + suffix); err == nil {
			p.beside[p.path+suffix] = info
		}
	}
}

// checkFiles returns an error if a file is not the one that was opened: every open
// connection would go on reading the old one, although it is deleted.
func (p *pinned) checkFiles() error {
	if p.file == nil {
		return nil
	}
	err := checkFile(p.path, p.file)
	for path, info := range p.beside {
		if err == nil {
			err = checkFile(path, info)
		}
	}
	return err
}

func checkFile(path string, was os.FileInfo) error {
	now, err := os.Stat(path)
	if err != nil && os.IsNotExist(err) || err == nil && !os.SameFile(was, now) {
		return fmt.Errorf("sqlindex: poll: %w: %s", ErrReplaced, path)
	}
	return nil
}

// checkJournal returns an error if a crash could lose or break what SQLite has
// acknowledged.
func checkJournal(ctx context.Context, conn *sql.Conn) error {
	var mode string
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&mode); err != nil {
		return err
	}
	if mode = strings.ToUpper(mode); mode == "OFF" || mode == "MEMORY" {
		return fmt.Errorf("%w: it is %s", ErrJournal, mode)
	}
	return nil
}
