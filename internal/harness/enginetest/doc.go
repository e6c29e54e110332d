// Package enginetest holds the tests and measurements of package sqlindex, and of
// pglisten beneath it, on real engines: SQLite, and a PostgreSQL that the tests start
// themselves, see package pgserver. It is not in sqlindex, so that sqlindex requires no
// driver.
package enginetest
