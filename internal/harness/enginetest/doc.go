// Package enginetest holds the tests and measurements of package sqlindex, and of
// pglisten beneath it, on real engines: SQLite, and a PostgreSQL that the tests
// start themselves, see package pgserver. It stands apart from sqlindex, which thus
// requires no driver.
package enginetest
