package sqlindex

import (
	"context"
	"database/sql"
	"sync"
)

// A statement is a query that an index repeats. If it is to be prepared, that happens at
// its first use: the database may be down before. The fields prepares and query are
// immutable after New.
type statement struct {
	query    string
	prepares bool

	mu       sync.Mutex // guards the fields below
	prepared *sql.Stmt
	closed   bool
}

// rows runs the statement.
func (s *statement) rows(ctx context.Context, db *sql.DB, args ...any) (*sql.Rows, error) {
	if !s.prepares {
		return db.QueryContext(ctx, s.query, args...)
	}
	stmt, err := s.prepare(ctx, db)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

// queryRow runs the statement, and reads its one row.
func (s *statement) queryRow(ctx context.Context, db *sql.DB, args []any, to ...any) error {
	if !s.prepares {
		return db.QueryRowContext(ctx, s.query, args...).Scan(to...)
	}
	stmt, err := s.prepare(ctx, db)
	if err != nil {
		return err
	}
	return stmt.QueryRowContext(ctx, args...).Scan(to...)
}

func (s *statement) prepare(ctx context.Context, db *sql.DB) (*sql.Stmt, error) {
	s.mu.Lock()
	prepared, closed := s.prepared, s.closed
	s.mu.Unlock()
	if prepared != nil {
		return prepared, nil
	}
	if closed {
		return nil, errClosed
	}
	stmt, err := db.PrepareContext(ctx, s.query) // not under mu: the database may take its time
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.prepared != nil || s.closed {
		stmt.Close()
	} else {
		s.prepared = stmt
	}
	if s.prepared == nil {
		return nil, errClosed
	}
	return s.prepared, nil
}

// close closes the statement, and no other is prepared from then on.
func (s *statement) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.prepared != nil {
		s.prepared.Close()
		s.prepared = nil
	}
}
