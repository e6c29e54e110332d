package tokenmetrics

import (
	"time"

	"github.com/svctoken/svctoken/fleet"
)

var (
	fleetServing = define("fleet.serving", "", "Whether the node has a session and a lease, and so answers.", Gauge)
	fleetLease   = define("fleet.lease", "seconds", "How long a heartbeat lets a node answer.", Gauge)
	fleetLeft    = define("fleet.lease_left", "seconds", "How long the node may still answer if it hears nothing more.", Gauge)
	fleetAge     = define("fleet.renewal_age", "seconds", "How long ago the heartbeat was sent that gave the node its lease.", Gauge)
	fleetApplied = define("fleet.applied", "", "The position up to which the node has applied the log.", Gauge)
	fleetMembers = define("fleet.members", "", "Nodes whose heartbeats were delivered and whose lease may still run, this one included.", Gauge)
	fleetPending = define("fleet.changes_pending", "", "Changes of this node that are being appended, again and again if the log does not take them, or wait for other nodes.", Gauge)
)

// WatchFleet shows a node's status in its fleet. Make ObserveFleet the node's observer. A
// name that is not empty becomes the label fleet.
func (o *Observer) WatchFleet(name string, node interface {
	Status() fleet.Status
	Members() []fleet.Member
}) {
	o.beginFleet()
	label := Label{"fleet", name}
	o.watch(func(c *collection) {
		st := node.Status()
		left := max(0, st.Until.Sub(c.now))
		members := 0
		for _, m := range node.Members() {
			if m.Until.After(c.now) {
				members++
			}
		}
		c.add(fleetServing, flag(st.Serving && left > 0), label)
		c.add(fleetLease, st.Lease.Seconds(), label)
		c.add(fleetLeft, left.Seconds(), label)
		c.add(fleetMembers, float64(members), label)
		c.add(fleetPending, float64(st.Pending), label)
		if st.Serving { // otherwise it is not known
			c.add(fleetApplied, float64(st.Applied), label)
		}
		if renewed := o.renewedAt(st); !renewed.IsZero() {
			c.add(fleetAge, c.now.Sub(renewed).Seconds(), label)
		}
	})
}

// renewedAt returns when the heartbeat of the node's present lease was sent, or, without
// a lease, when ObserveFleet heard of the last renewal. Zero: never.
func (o *Observer) renewedAt(st fleet.Status) time.Time {
	if !st.Until.IsZero() {
		return st.Until.Add(-st.Lease)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.renewed
}
