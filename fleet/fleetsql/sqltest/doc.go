// Package sqltest tests fleetsql on SQLite and on PostgreSQL. It is a module of its own,
// so that the drivers are no requirement of fleetsql's users.
package sqltest
