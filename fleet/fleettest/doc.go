// Package fleettest has a log in memory, for tests of what runs on package fleet,
// and a suite of tests for logs of one's own.
//
// The nodes of one process share a [Log]. Each has a connection, a [Conn], which a test
// can cut, slow down and heal:
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
