package fleet

import (
	"slices"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// A progress says how far a change has come. It is immutable once it is published. Its
// methods are pure: what they decide follows from the progress and from what the node
// knows.
type progress struct {
	id    string // of the change's append
	ttl   time.Duration
	pos   fleetlog.Position
	t1    time.Time     // after the log acknowledged it
	lease time.Duration // the log's; zero: not known yet
	read  *membership   // nil: not read yet
}

// A knowledge is what a node knows at a moment.
type knowledge struct {
	now     time.Time
	own     string // this process
	answers map[sessionID]letter
	heard   map[string]hearing
	mark    watermark
}

// A decision is what to do with a change.
type decision int

const (
	waits  decision = iota // for an answer, a heartbeat, or the deadline
	done                   // each member has answered, or its lease was over before
	lapsed                 // members that have not answered cannot be serving on a lease from before the change
	lost                   // the log no longer has the change, or will not keep it for long enough
)

// decide says what to do with the change now.
func (p *progress) decide(k knowledge) decision {
	deadline, known := p.deadline()
	switch {
	case known && !k.now.Before(deadline):
		return lapsed
	case p.complete(k):
		return done
	case p.gone(k.mark) || p.fleeting():
		return lost
	default:
		return waits
	}
}

// deadline returns the time after which no lease from before the change can be valid. If
// a lease is still valid a lease's length after the acknowledgement, its heartbeat was
// sent after the acknowledgement, and so it covers the change. It returns false if the
// lease is not known, or if the change could expire before every node has read it.
func (p *progress) deadline() (time.Time, bool) {
	return p.t1.Add(allow(p.lease)), p.lease > 0 && !p.fleeting()
}

// fleeting reports whether the change, appended while the log's lease was not known,
// could expire before every node has read it.
func (p *progress) fleeting() bool { return p.ttl > 0 && p.ttl < keep*p.lease }

// gone reports whether the log has lost the change: this node sent a heartbeat after the
// change was acknowledged, and the log gave it a lower position. So it is another log, or
// was rolled back, and its views may not reach the change's position for long.
func (p *progress) gone(mark watermark) bool { return mark.t0.After(p.t1) && mark.pos < p.pos }

// complete reports whether every session that may serve has applied the change. While the
// log is younger than a lease, a session of an earlier log may serve.
func (p *progress) complete(k knowledge) bool {
	return p.read != nil && p.read.settled &&
		!slices.ContainsFunc(p.read.members, func(m member) bool { return p.awaits(k, m) })
}

// awaits reports whether a session may serve without having applied the change. That
// includes this node's own session: it has evicted, but its reads may still be from
// before an earlier change in the log.
func (p *progress) awaits(k knowledge, m member) bool {
	h := k.heard[m.id.process]
	return !m.left && !p.applied(k, m) && !p.joinedLater(k, m, h) && !k.mark.over(h, m)
}

// applied reports whether a session says that it has applied the change. A heartbeat
// names changes, not a position: after the log was rolled back, a session that has not
// noticed yet may have passed the change's position in the log before.
func (p *progress) applied(k knowledge, m member) bool {
	_, answered := k.answers[m.id]
	return answered || slices.Contains(m.beat.Changes, p.id)
}

// joinedLater reports whether a session began after the change, in the same log: it is in
// a view that has the change, or this node's session heard it after applying the change.
func (p *progress) joinedLater(k knowledge, m member, h hearing) bool {
	_, before := k.answers[sessionID{k.own, h.by}]
	return m.joined() > p.pos && (m.viewed || before && h.id == m.id)
}

// report returns the other nodes, sorted by ID. A node that has not answered has the time
// until which it may serve, or since which it cannot.
func (p *progress) report(k knowledge, lapsed bool) []evict.Node {
	members := p.members(k)
	var nodes []evict.Node
	for _, m := range members {
		if m.id.process == k.own || m.left {
			continue
		}
		node := evict.Node{ID: m.id.process, Name: m.beat.Name, Evicted: k.answers[m.id].Evicted}
		switch h := k.heard[m.id.process]; {
		case p.applied(k, m) || p.joinedLater(k, m, h):
		case k.mark.over(h, m):
			node.NotServingSince = h.until
		case lapsed:
			node.NotServingSince = p.t1.Add(allow(p.lease))
		default:
			node.Err = errNoAnswer
			if p.lease > 0 {
				node.UnconfirmedUntil = p.t1.Add(allow(p.lease))
			}
		}
		nodes = append(nodes, node)
	}
	return nodes
}

// members returns the known sessions: those that were read, or else those that were
// heard.
func (p *progress) members(k knowledge) []member {
	if p.read == nil {
		return readMembership(fleetlog.View{}, k.heard).members
	}
	return p.read.members
}

// nodes returns how many processes are known, including this one.
func (p *progress) nodes(k knowledge) int {
	n := 1
	for _, m := range p.members(k) {
		if m.id.process != k.own && !m.left {
			n++
		}
	}
	return n
}
