// Package sqlfault is a driver between database/sql and a real driver. It makes chosen
// calls fail, so that a test can try each error that a database can return.
package sqlfault
