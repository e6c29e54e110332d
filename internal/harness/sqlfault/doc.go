// Package sqlfault stands between database/sql and a real driver, and makes the calls fail
// that a test names: so a test can try each error that a database can answer with.
package sqlfault
