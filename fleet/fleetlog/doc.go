// Package fleetlog is the contract between package fleet and the log that its nodes
// share, for authors of such a log. Hosts need it only for its types: they open
// a log of fleet/fleetnats or fleet/fleetsql and pass it to fleet.New.
//
// For most uses, implement [Log] and run fleettest.Suite against it:
//
//	func TestLog(t *testing.T) { fleettest.Suite(t, bench) }
//
// A log is totally ordered and durable. It keeps at least the last message of each key,
// documents and evictions and heartbeats alike, so that "this node has applied position
// p" covers all of them. The promise of package fleet stands on three sentences of the
// contract: what was acknowledged is not lost, an append comes after everything that was
// acknowledged before it began, and a follower leaves nothing out without saying so.
//
// Implementations of Log are safe for concurrent use by multiple goroutines.
package fleetlog
