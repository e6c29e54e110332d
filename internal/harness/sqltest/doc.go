// Package sqltest tests fleetsql on SQLite and on PostgreSQL. It is not in fleetsql, so
// that fleetsql requires no driver.
package sqltest
