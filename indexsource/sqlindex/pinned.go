package sqlindex

import (
	"context"
	"database/sql"
	"fmt"
	"os"
)

// A pinned is the connection on which an index on SQLite polls. SQLite counts, for
// each connection, the commits of all others: while the count stays, nothing has
// changed, and the poll reads no table. The zero pinned has no connection yet.
type pinned struct {
	conn    *sql.Conn
	version int64 // PRAGMA data_version at the last poll that succeeded
	path    string
	file    os.FileInfo // when the connection was opened
}

// look reads what has changed, as Index.look does.
func (p *pinned) look(ctx context.Context, ix *Index, seen position) (news, error) {
	if p.conn == nil {
		if err := p.open(ctx, ix.db); err != nil {
			return news{}, wrap("poll", err)
		}
	}
	n, err := p.read(ctx, ix, seen)
	if err != nil {
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
		p.conn = nil
	}
}

func (p *pinned) read(ctx context.Context, ix *Index, seen position) (news, error) {
	if err := p.checkFile(); err != nil {
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
		p.version = version // read before the rows: what was committed in between is read twice
	}
	return n, err
}

// checkFile fails where the file is not the one that was opened. Every connection
// that is open would go on reading that one, deleted as it is.
func (p *pinned) checkFile() error {
	if p.file == nil {
		return nil
	}
	now, err := os.Stat(p.path)
	if err != nil && os.IsNotExist(err) || err == nil && !os.SameFile(p.file, now) {
		return fmt.Errorf("sqlindex: poll: %w", ErrReplaced)
	}
	return nil
}
