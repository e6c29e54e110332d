package fleet

import (
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// driftPPM is how many millionths a node's monotonic clock may run fast or slow. Clocks
// under NTP stay below 500, and quartz below 100.
const driftPPM = 1000

// allow returns how long to wait, by a clock that may be fast, for something that lasts d
// by a clock that may be slow.
func allow(d time.Duration) time.Duration {
	return d + d/1e6*(2*driftPPM+driftPPM/100)
}

// renewAt returns when to renew the lease that ends at until: a fifth of it after its
// heartbeat.
func renewAt(until time.Time, lease time.Duration) time.Time { return until.Add(lease/5 - lease) }

// patient returns how long a follower may deliver nothing while it owes a heartbeat:
// twice the time that the last one took, or was waited for, since it may be slow rather
// than dead. The bounds leave time to try again before the lease is over.
func patient(took, lease time.Duration) time.Duration { return doubled(took, lease/15, lease/3) }

// A watermark is a heartbeat of this node that was acknowledged and delivered. Whatever
// was acknowledged before t0 has a lower position in the same log, and was delivered to
// the session before it.
type watermark struct {
	t0      time.Time
	pos     fleetlog.Position
	session int
}

// over reports whether a session's lease is known to be over. A lease has passed since
// its heartbeat was heard, and this node has sent a heartbeat of its own after that,
// which was delivered after everything that had been acknowledged by then. A renewal of
// the session would have been acknowledged before its lease was over, so it would have
// been heard too. The time alone is not enough: after a log was rolled back, a renewal
// that nobody has heard may be gone from it.
func (w watermark) over(h hearing, m member) bool {
	return h.id == m.id && h.append == m.append && h.append != "" && w.session == h.by && w.t0.After(h.until)
}
