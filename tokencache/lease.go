package tokencache

import (
	"time"
)

// Lease lets the group answer until this time, and from then on fail every
// authentication with [ReasonLapsed], hits and misses alike: for a node that cannot tell
// whether it has missed an eviction. The lease that counts is the one there is when the
// answer leaves. A later call extends or ends the lease, at once.
// The zero Time: no lease is needed, which is how a group begins.
//
// A time with a monotonic reading ends the lease by the monotonic clock, one without by
// the wall clock as it is now. What the machine sleeps counts.
//
// What is remembered stays. A node that lets a lease lapse must clear the group before
// the next one.
func (g *Group) Lease(until time.Time) {
	if until.IsZero() {
		g.lease.until.Store(0)
		return
	}
	at := g.memory.clock.of(until)
	if at == 0 {
		at = -1 // over as well, and not the absence of a lease
	}
	g.lease.until.Store(at)
}

// lapsed reports whether a lease is needed and there is none. It reads the real
// clock: a time noted before a pause of the process would be too early.
func (g *Group) lapsed() bool {
	until := g.lease.until.Load()
	return until != 0 && g.memory.clock.now() >= until
}
