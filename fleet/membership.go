package fleet

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// A membership is the sessions that may be serving without a change: what was read after
// the change, and what was heard.
type membership struct {
	meta    metaRecord
	settled bool // the log is older than a lease, so nobody has a lease from the one before
	members []member
}

// A member is the last session of a process that is known: it began after those before
// it had ended.
type member struct {
	id     sessionID
	beat   heartbeat
	at     fleetlog.Position // of the heartbeat
	append string            // the ID of the heartbeat's append
	left   bool              // it was closed
	viewed bool              // it was read in the log, at or after the change
}

// joined returns the position of the session's first heartbeat; zero: nobody can tell.
func (m member) joined() fleetlog.Position {
	if m.beat.First {
		return m.at
	}
	return m.beat.Joined
}

// A hearing is the last heartbeat of a process that was delivered to this node.
type hearing struct {
	member
	heard time.Time
	until time.Time // its sender read the clock before it sent, so its lease is over by then
	by    int       // which of this node's sessions has heard it
}

// parseMember reads a heartbeat. What is not JSON is a member without a name: if it is a
// node, it has to be waited for.
func parseMember(key string, m fleetlog.Message) (member, bool) {
	id, ok := parseNodeKey(key)
	if !ok {
		return member{}, false
	}
	var beat heartbeat
	if json.Unmarshal(m.Value, &beat) != nil {
		beat = heartbeat{}
	}
	return member{id: id, beat: beat, at: m.Position, append: m.ID, left: m.Deleted}, true
}

// readMembership returns what a view says, together with what was heard: a view that
// leaves a node out must not make anybody forget it before its lease is over.
func readMembership(view fleetlog.View, heard map[string]hearing) *membership {
	r := &membership{}
	json.Unmarshal(view.Messages[metaKey].Value, &r.meta) // of nothing: nothing
	settled := view.Messages[settledKey]
	r.settled = r.meta.Log != "" && string(settled.Value) == r.meta.Log && !settled.Deleted
	last := make(map[string]member)
	for key, message := range view.Messages {
		if m, ok := parseMember(key, message); ok && m.later(last[m.id.process]) {
			m.viewed = true
			last[m.id.process] = m
		}
	}
	for process, h := range heard {
		if h.later(last[process]) {
			last[process] = h.member
		}
	}
	for _, m := range last {
		r.members = append(r.members, m)
	}
	slices.SortFunc(r.members, func(a, b member) int { return strings.Compare(a.id.process, b.id.process) })
	return r
}

// covers returns why a view does not tell who may be serving without a change that was
// appended at a position: it must reach the position, and be of the log that has the
// change. That is the log in which the change has its ID. If a later message has taken
// its key, only a node that has applied the change can tell which log that is. A view of
// a log that was replaced tells of sessions at higher positions, which seem to have
// joined later.
func covers(v fleetlog.View, entry fleetlog.Entry, pos fleetlog.Position, log metaRecord) error {
	var meta metaRecord
	json.Unmarshal(v.Messages[metaKey].Value, &meta) // of nothing: nothing
	m := v.Messages[entry.Key]
	switch {
	case v.Position < pos:
		return errBehind
	case meta.Log == "" || meta.Lease < minLease:
		return errNoMeta
	case m.Position >= pos && m.ID != entry.ID && meta.Log != log.Log:
		return errOtherView
	}
	return nil
}

// later reports whether a heartbeat of the same process is a later one.
func (m member) later(other member) bool {
	if m.id.n != other.id.n {
		return m.id.n > other.id.n
	}
	return m.at > other.at
}
