package fleet

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// A Member is a node of the fleet, as another one has last heard of it.
type Member struct {
	ID, Name string
	Session  int               // which of its sessions this is, from 1
	Applied  fleetlog.Position // up to which it had applied the log when it sent its last heartbeat; zero: that was its first
	Heard    time.Time         // when that heartbeat came by
	Until    time.Time         // if it sends no other one, it answers nothing after this, by this node's clock
}

// Members returns the nodes whose heartbeats have come by, this one included, sorted
// by name. It asks nobody: within a fifth of a lease after this node began to serve it
// has heard of all who serve, and while it is cut off it tells what it knew before.
// A node that was closed is left out, and so is one that was silent for three leases.
func (n *Node) Members() []Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]Member, 0, len(n.heard))
	for _, m := range n.heard {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}

// hear notes a heartbeat that came by. Its sender has read the clock before it was
// sent, so its lease ends within a lease from now.
func (n *Node) hear(m fleetlog.Message, lease time.Duration) {
	id, ok := parseNodeKey(m.Key)
	if !ok {
		return
	}
	var beat heartbeat
	json.Unmarshal(m.Value, &beat) // what another tool wrote there is a member without a name
	now := n.cfg.clock.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	for process, known := range n.heard {
		if now.Sub(known.Heard) > keep*lease {
			delete(n.heard, process)
		}
	}
	switch known := n.heard[id.process]; {
	case id.n < known.Session: // it comes by late
	case m.Deleted:
		delete(n.heard, id.process)
	default:
		n.heard[id.process] = Member{ID: id.process, Name: beat.Name, Session: id.n, Applied: beat.Applied, Heard: now, Until: now.Add(allow(lease))}
	}
}
