// Package fleet keeps the caches of many nodes in step: once an eviction or a change
// of a token's document has returned on any node, no authentication that starts
// afterwards on any node gets an answer from before it.
//
// For most uses, make a [Node] for the group of caches, beside a log:
//
//	group := tokencache.NewGroup(tokencache.GroupConfig{})
//	node, err := fleet.New(log, group, fleet.Config{})
//	source := indexsource.New(node.Index())
//	cache, err := tokencache.New(group, "index", source, tokencache.Config{})
//	err = node.Ready(ctx) // until then every authentication is an error
//	report, err := node.Evict(ctx, "elastic", "fleet-server", "token1")
//
// A Node is an evict.Evictor, as evict.NewHandler takes it, and its [Index] keeps
// documents in the same log.
//
// # How
//
// All nodes share a log. Evictions, documents and the nodes' own heartbeats are
// messages of it, so that all of them have one order. A node follows the log and applies
// each message as it is delivered. It answers from memory while it has a lease, which
// lasts for a fixed time from the sending of its last heartbeat that was delivered; what
// was acknowledged before the sending has been delivered, too. An eviction waits until
// each node has said that it applied it, or until no lease from before it can be valid.
// A node that cannot renew its lease answers with errors, clears its caches, and joins
// anew. A log has a version, and what a node does not know in it clears the node's
// caches. docs/fleet-proof.md has the protocol, its proof and its assumptions.
//
// In the first lease of a new log, 15 seconds, each change takes a lease: a log before
// it may have left leases behind, which the new one does not know.
//
// Package fleet/fleettest has a log in memory, for tests. Real logs are fleet/fleetnats
// and fleet/fleetsql, each a module of its own. Package fleet/fleetlog is the contract
// for authors of another.
//
// # Concurrency
//
// All types are safe for concurrent use by multiple goroutines. A node starts
// goroutines; [Node.Close] ends them.
package fleet
