package sqlfault

import (
	"context"
	"database/sql/driver"
	"io"
	"sync"
)

// Err is the error of a call that is made to fail: one of a standard package, as for a
// connection that was cut.
var Err = io.ErrUnexpectedEOF

// A Mode says what happens to the call that is made to fail, and to later ones.
type Mode int

const (
	Once     Mode = iota // the call is not made, but later ones are
	Lost                 // the call is made, and its answer is lost
	FromHere             // neither the call nor any after it is made, except for rollbacks
)

// Faults makes the calls of one driver fail. Its methods are safe for concurrent use.
type Faults struct {
	base driver.Connector

	mu    sync.Mutex // guards the fields below
	armed bool
	left  int // calls before the one that fails
	mode  Mode
	fired string // the call that failed
}

// New returns a connector for sql.OpenDB that passes everything on to the base.
func New(base driver.Connector) *Faults { return &Faults{base: base} }

// Fail makes the n-th call from now on fail, counted from 0. Begin, prepare, exec, query, each
// row, commit and rollback are calls.
func (f *Faults) Fail(n int, mode Mode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed, f.left, f.mode, f.fired = true, n, mode, ""
}

// Stop ends the faults, and returns the call that has failed, or "".
func (f *Faults) Stop() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armed = false
	return f.fired
}

// around makes a call, or lets it fail.
func (f *Faults) around(what string, call func() error) error {
	fails, made := f.next(what)
	if !fails {
		return call()
	}
	if made {
		call() // its answer is lost
	}
	return Err
}

// next counts a call.
func (f *Faults) next(what string) (fails, made bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !f.armed:
		return false, false
	case f.fired != "":
		return f.mode == FromHere, what == "rollback"
	case f.left > 0:
		f.left--
		return false, false
	}
	f.fired = what
	return true, f.mode == Lost || what == "rollback"
}

// Connect implements driver.Connector.
func (f *Faults) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := f.base.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &conn{c, f}, nil
}

// Driver implements driver.Connector.
func (f *Faults) Driver() driver.Driver { return f.base.Driver() }
