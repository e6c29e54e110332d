package fleet

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// A Member is a node of the fleet, as its last heartbeat has described it to another
// node.
type Member struct {
	ID, Name string
	Session  int               // which of its sessions this is, from 1
	Applied  fleetlog.Position // up to which it had applied the log when it sent its last heartbeat; zero: that was its first
	Version  int               // of logs: the highest that it can read
	Heard    time.Time         // when that heartbeat was delivered
	Until    time.Time         // it answers nothing after this, by this node's clock, unless it sends another heartbeat
}

// Members returns the nodes whose heartbeats were delivered, this one included, sorted
// by name. It asks nobody: within a fifth of a lease after this node began to serve it
// has heard of all that serve, and while it is cut off it returns what it knew before.
// A node that was closed is left out, and so is one that was silent for three leases.
func (n *Node) Members() []Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]Member, 0, len(n.heard))
	for _, h := range n.heard {
		list = append(list, Member{
			ID: h.id.process, Name: h.beat.Name, Session: h.id.n, Applied: h.beat.Applied, Version: h.beat.Version, Heard: h.heard, Until: h.until,
		})
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}

// hear keeps a heartbeat that was delivered to one of this node's sessions. Its sender
// read the clock before sending it, so the sender's lease ends within a lease from now.
func (n *Node) hear(message fleetlog.Message, lease time.Duration, by int) {
	m, ok := parseMember(message.Key, message)
	if !ok {
		return
	}
	now := n.cfg.clock.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	if m.id.process == n.id { // only five times a lease: at each node's heartbeat the work would grow with the square of the nodes
		maps.DeleteFunc(n.heard, func(_ string, known hearing) bool { return now.Sub(known.heard) > keep*lease })
	}
	switch known := n.heard[m.id.process]; {
	case m.id.n < known.id.n: // delivered late
	case m.left:
		delete(n.heard, m.id.process)
	default:
		n.heard[m.id.process] = hearing{member: m, heard: now, until: now.Add(allow(lease)), by: by}
	}
}
