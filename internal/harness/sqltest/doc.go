// Package sqltest tests fleetsql on SQLite and on PostgreSQL. It stands apart from fleetsql,
// so that the drivers are no requirement of fleetsql's users.
package sqltest
