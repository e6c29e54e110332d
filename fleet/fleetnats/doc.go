// Package fleetnats keeps the log of a fleet in NATS JetStream.
//
// For most uses, connect, open the log and give it to a node:
//
//	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
//	log, err := fleetnats.Open(ctx, nc, fleetnats.Config{})
//	node, err := fleet.New(log, group, fleet.Config{})
//
// The host chooses TLS, credentials and all other options of the connection. The
// connection must never give up reconnecting: once it is closed, the node does not serve
// again.
//
// The log is a stream with one message a subject, laid out like a key-value bucket,
// so that nats kv reads it: nats kv get svctoken doc.NAMESPACE.SERVICE.NAME. Servers
// of version 2.14 and later are known to work.
//
// # Durability
//
// The promise of package fleet assumes that acknowledged messages are not lost. By
// default a NATS server acknowledges before it has synced to disk, and syncs every
// two minutes. Set sync_interval: always on each server, and three replicas.
//
// # Concurrency
//
// All types are safe for concurrent use by multiple goroutines. A [Log] starts
// goroutines only for what its node asks for.
package fleetnats
