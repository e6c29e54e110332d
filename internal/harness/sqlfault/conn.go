package sqlfault

import (
	"context"
	"database/sql/driver"
	"errors"
)

// A conn is a connection of the base.
type conn struct {
	driver.Conn
	faults *Faults
}

var errOldDriver = errors.New("sqlfault: the driver lacks a method that takes a context")

// BeginTx implements driver.ConnBeginTx.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	base, ok := c.Conn.(driver.ConnBeginTx)
	if !ok {
		return nil, errOldDriver
	}
	var begun driver.Tx
	err := c.faults.around("begin", func() (err error) {
		begun, err = base.BeginTx(ctx, opts)
		return err
	})
	if err == nil {
		return tx{begun, c.faults}, nil
	}
	if begun != nil {
		begun.Rollback()
	}
	return nil, err
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	base, ok := c.Conn.(driver.ConnPrepareContext)
	if !ok {
		return nil, errOldDriver
	}
	var prepared driver.Stmt
	err := c.faults.around("prepare "+query, func() (err error) {
		prepared, err = base.PrepareContext(ctx, query)
		return err
	})
	if err == nil {
		return &stmt{prepared, c.faults, query}, nil
	}
	if prepared != nil {
		prepared.Close()
	}
	return nil, err
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (result driver.Result, err error) {
	base, ok := c.Conn.(driver.ExecerContext)
	if !ok || len(args) > 0 { // the statement is then prepared: some drivers say so only after the call
		return nil, driver.ErrSkip
	}
	err = c.faults.around("exec "+query, func() error {
		result, err = base.ExecContext(ctx, query, args)
		return err
	})
	return result, err
}

// CheckNamedValue implements driver.NamedValueChecker.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error { return check(c.Conn, v) }

func check(base any, v *driver.NamedValue) error {
	if base, ok := base.(driver.NamedValueChecker); ok {
		return base.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// ResetSession implements driver.SessionResetter.
func (c *conn) ResetSession(ctx context.Context) error {
	if base, ok := c.Conn.(driver.SessionResetter); ok {
		return base.ResetSession(ctx)
	}
	return nil
}

// IsValid implements driver.Validator.
func (c *conn) IsValid() bool {
	base, ok := c.Conn.(driver.Validator)
	return !ok || base.IsValid()
}

type tx struct {
	base   driver.Tx
	faults *Faults
}

// Commit implements driver.Tx. If the commit is not made, the transaction is rolled back,
// as at the end of its connection.
func (t tx) Commit() error {
	made := false
	err := t.faults.around("commit", func() error {
		made = true
		return t.base.Commit()
	})
	if !made {
		t.base.Rollback()
	}
	return err
}

// Rollback implements driver.Tx.
func (t tx) Rollback() error { return t.faults.around("rollback", t.base.Rollback) }

type stmt struct {
	driver.Stmt
	faults *Faults
	query  string
}

// ExecContext implements driver.StmtExecContext.
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (result driver.Result, err error) {
	base, ok := s.Stmt.(driver.StmtExecContext)
	if !ok {
		return nil, errOldDriver
	}
	err = s.faults.around("exec "+s.query, func() error {
		result, err = base.ExecContext(ctx, args)
		return err
	})
	return result, err
}

// QueryContext implements driver.StmtQueryContext.
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	base, ok := s.Stmt.(driver.StmtQueryContext)
	if !ok {
		return nil, errOldDriver
	}
	var found driver.Rows
	err := s.faults.around("query "+s.query, func() (err error) {
		found, err = base.QueryContext(ctx, args)
		return err
	})
	if err == nil {
		return rows{found, s.faults, s.query}, nil
	}
	if found != nil {
		found.Close()
	}
	return nil, err
}

// CheckNamedValue implements driver.NamedValueChecker.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error { return check(s.Stmt, v) }

type rows struct {
	driver.Rows
	faults *Faults
	query  string
}

// Next implements driver.Rows.
func (r rows) Next(dest []driver.Value) error {
	return r.faults.around("row of "+r.query, func() error { return r.Rows.Next(dest) })
}
