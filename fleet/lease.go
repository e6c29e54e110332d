package fleet

import (
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// driftPPM is by how many millionths a node's monotonic clock may run fast or slow.
// Clocks that are kept by NTP stay below 500, and quartz below 100.
const driftPPM = 1000

// allow returns how long to wait by a clock that may be fast for what lasts d by one
// that may be slow.
func allow(d time.Duration) time.Duration {
	return d + d/1e6*(2*driftPPM+driftPPM/100)
}

// renewAt returns when a lease that ends then has to be renewed: a fifth of it after the
// heartbeat that it runs from.
func renewAt(until time.Time, lease time.Duration) time.Time { return until.Add(lease/5 - lease) }

// patient returns how long a follower may deliver nothing while it owes a heartbeat, if
// the last one took so long, or was not delivered for so long: twice as long, as it may be
// slow, not dead, within bounds that leave time to try again before the lease is over.
func patient(took, lease time.Duration) time.Duration { return doubled(took, lease/15, lease/3) }

// A watermark is a heartbeat of this node that was acknowledged and delivered: whatever
// was acknowledged before t0 has a lower position in the log that has it, and was
// delivered to the session before it.
type watermark struct {
	t0      time.Time
	pos     fleetlog.Position
	session int
}

// over reports whether a session's lease is known to be over: the heartbeat was heard,
// a lease from it is over, and this node has since sent a heartbeat of its own, which
// was delivered after everything that was acknowledged by then. A renewal would have
// been acknowledged before the lease was over, so it would have been heard too. That
// also holds after a log was rolled back, although a renewal that nobody has heard may
// be gone from it: so the time alone is not enough.
func (w watermark) over(h hearing, m member) bool {
	return h.id == m.id && h.append == m.append && h.append != "" && w.session == h.by && w.t0.After(h.until)
}
