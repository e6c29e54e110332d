// Package fleettest has a log in memory, for tests of what runs on package fleet,
// and a suite of tests for logs of one's own.
//
// A [Log] is shared by the nodes of one process. Each has a [Conn], which is its
// connection, and which can be cut off, slowed down and healed:
//
//	log := fleettest.NewLog()
//	node, err := fleet.New(log.Connect(), group, fleet.Config{})
//
// [Suite] runs named tests against a log:
//
//	func TestLog(t *testing.T) { fleettest.Suite(t, bench) }
//
// All types are safe for concurrent use by multiple goroutines.
package fleettest
