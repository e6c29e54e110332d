// Package pglisten lets a PostgreSQL database notify an index of package sqlindex of
// changes, so that the index need not wait for its next poll.
//
// For most uses:
//
//	index, err := sqlindex.New(db, sqlindex.PostgreSQL, sqlindex.Config{})
//	...
//	listener := pglisten.Listen(config, index.Notified, pglisten.Config{})
//	defer listener.Close()
//
// A notification names the tokens of a change, if they are few, and the caches forget
// them at once. The index goes on polling, and relies on nothing else: PostgreSQL keeps
// no notification for a connection that is cut. After each connect the listener listens
// first, and makes the index poll then, so that nothing is missed in between.
//
// A listener holds one connection, which must be a session of its own: through a pooler
// that shares sessions, such as PgBouncer's transaction mode, LISTEN hears nothing.
//
// It is a module of its own, as it needs the driver pgx.
package pglisten
