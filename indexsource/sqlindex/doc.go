// Package sqlindex is an index of service account tokens in an SQL database: SQLite, for
// the processes of one host, or PostgreSQL, for many nodes. Every node learns of every
// change, by another node or by an operator with an SQL shell.
//
// For most uses:
//
//	db, err := sql.Open("pgx", "postgres:///tokens")
//	...
//	index, err := sqlindex.New(db, sqlindex.PostgreSQL, sqlindex.Config{})
//	...
//	defer index.Close()
//	if err := index.Migrate(ctx); err != nil { ... }
//	cache, err := tokencache.New(group, "index", indexsource.New(index), tokencache.Config{})
//
// The driver is the host's choice; this package uses database/sql and imports none. See
// docs/sql.md for the settings that a driver needs, docs/sql-evidence.md for figures. Package
// pglisten, a module beneath this one, lets PostgreSQL tell of changes at once.
//
// # Promise
//
// Once a transaction that changed a token has committed, and Config.Poll and the time
// of one read have passed, no authentication on any node which runs and reaches the
// database confirms what the token was before. For changes through the node's own Index
// that holds as soon as the method returns. Expiries, and the end of a rotation's
// grace, hold by each node's own clock. While the database is not reachable,
// authentications that need it fail with an error, which is no refusal; what is in
// memory is confirmed until its TTL, or for Config.GoneAfter. A process that was
// stopped, by SIGSTOP or as its machine was suspended, confirms what it remembers for a
// moment after it goes on, until it has polled; docs/sql.md says how a lease prevents
// that.
//
// A change counts as done only if its commit was answered with success while its context
// had not ended. If not, it may be in force or not; see [ErrUnconfirmed].
//
// # How changes are found
//
// One row, in the table svctoken_meta, holds the number of the last change, rev.
// Triggers increment it when a statement has changed a token, by the values of our
// columns before and after: what a host writes into a column of its own is no change.
// They note under that number, in svctoken_changes, what has changed, and in
// svctoken_history which user or role has changed it. As the row is locked until the
// commit, the order of the numbers is the order of the commits. Ids from a sequence
// would not do: they commit out of order, and a poll for ids greater than the last one
// loses a change for ever. Clocks play no part. Polls compare also the index's uuid,
// and a random mark that is kept for each of the last 100 000 revs, so that a database
// restored from a backup is noticed whatever was written to it since. A kind of change
// that a program does not know makes it forget everything.
//
// # SQLite
//
// Use a file, in WAL mode, with a busy timeout; each connection to a database in memory
// has a database of its own. A poll first asks PRAGMA data_version, which reads no table.
// Replacing the file of a running process, or deleting -wal and -shm beside it, is
// noticed, and ends the index; see [ErrReplaced].
//
// The tests and the example use the driver github.com/ncruces/go-sqlite3, as it is pure
// Go and small: 4 modules with 20 MB of source; modernc.org/sqlite has 8 with 259 MB.
// Both work, and take the same time for a Get; docs/sql-evidence.md has the commands.
//
// # PostgreSQL
//
// Documents are read from the primary. A replica may lag behind an eviction, so each
// read checks for one, and fails, unless Config.AllowReplicas is set; then no read
// goes back behind what the process has seen. The triggers notify of each change, with
// the names of what it has changed if they are few: see package pglisten. Changes that
// logical replication applies are counted as others are.
//
// # Secrets
//
// Errors contain no password hash. Drivers' errors are not wrapped as they are,
// since PostgreSQL's quote rows; see [EngineError]. Values go to the database as
// parameters only, which PostgreSQL's own log does not show by default; do not use the
// simple protocol of pgx, which writes them into the statement.
//
// # Concurrency
//
// An [Index] is safe for concurrent use by multiple goroutines. It starts one goroutine
// while a source watches it, which [Index.Close] ends.
package sqlindex
