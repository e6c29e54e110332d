package fleet

import (
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// An EventKind says what happened to a node.
type EventKind int

const (
	// EventServing: a session has begun, the caches were cleared, and the group
	// answers. Duration is how long it took since the last session ended.
	EventServing EventKind = iota
	// EventStopped: the session has ended, the group answers nothing until the next
	// one, and Err says why.
	EventStopped
	// EventRenewed: the lease runs longer. Duration is how long the log took.
	EventRenewed
	// EventReopened: the follower was opened anew, and Err says why.
	EventReopened
	// EventJoinFailed: an attempt to begin a session failed; another one follows.
	EventJoinFailed
	// EventApplied: another node's change, or one's own, is in force here.
	EventApplied
)

// String returns one word for the kind, as metrics label it.
func (k EventKind) String() string {
	names := [...]string{"serving", "stopped", "renewed", "reopened", "join_failed", "applied"}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// An Event is passed to Config.Observer.
type Event struct {
	Kind     EventKind
	Node     string            // the node's ID
	Position fleetlog.Position // up to which the node has applied the log
	Duration time.Duration
	Err      error
}

func (n *Node) tell(e Event) {
	if n.cfg.Observer != nil {
		e.Node = n.id
		n.cfg.Observer(e)
	}
}
