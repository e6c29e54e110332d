// Package fleetsql keeps the log of a fleet in an SQL database: PostgreSQL, or SQLite
// for the processes of one host.
//
// For most uses, open a database, open the log in it, and give it to a node:
//
//	db, err := sql.Open("pgx", "postgres:///tokens")
//	log, err := fleetsql.Open(ctx, db, fleetsql.PostgreSQL, fleetsql.Config{})
//	node, err := fleet.New(log, group, fleet.Config{})
//
// The driver is the host's choice; this package uses database/sql and imports none. On
// PostgreSQL, package indexsource/sqlindex/pglisten lets nodes hear of each message at
// once; otherwise they look for it every [Config.Poll]:
//
//	listener := pglisten.Listen(conn, log.Notified, pglisten.Config{})
//	defer listener.Close()
//
// # How it works
//
// One row has the position of the last message, rev. Each append increments it in its
// transaction. The row is locked from then until the commit, so that the order of the
// positions is the order of the commits, and a reader that sees position p sees everything up
// to p. The last message of each key is kept, as long as its TTL; tables, all of which
// begin with svctoken_fleet_, are in schema/.
//
// # Durability
//
// The promise of package fleet assumes that acknowledged messages are not lost, and that
// there is one primary. PostgreSQL: leave fsync on, and synchronous_commit neither off
// nor local, which Append demands. A standby that may be promoted must be a synchronous
// one (synchronous_standby_names), so that the old primary can acknowledge nothing once
// it is cut off from it. With a single server nothing needs to be set; while it is down,
// nothing is appended, and nodes stop answering when their leases end. SQLite: WAL mode,
// synchronous = FULL, which Append demands, and a busy timeout.
//
// # Concurrency
//
// A [Log] is safe for concurrent use by multiple goroutines. It starts goroutines
// only for what its node asks for: one that looks for answers from Listen until its stop
// is called, and one while answers are being sent.
package fleetsql
