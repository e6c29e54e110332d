package fleet

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// A membership is the set of sessions that may be serving without a change: those that
// were read after the change, and those that were heard.
type membership struct {
	meta    metaRecord
	settled bool // the log is older than a lease, so no lease from an earlier log is left
	members []member
}

// A member is the last known session of a process: it began after the earlier ones had
// ended.
type member struct {
	id     sessionID
	beat   heartbeat
	at     fleetlog.Position // of the heartbeat
	append string            // the ID of the heartbeat's append
	left   bool              // it was closed
	viewed bool              // it was read in the log, at or after the change
}

// joined returns the position of the session's first heartbeat; zero: unknown.
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

// parseMember parses a heartbeat. If it is not JSON, the result is a member without a
// name: it may be a node, so changes have to wait for it.
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

// readMembership returns the sessions of a view together with those that were heard: if a
// view leaves out a node, changes must wait for it until its lease is over.
func readMembership(view fleetlog.View, heard map[string]hearing) *membership {
	r := &membership{meta: metaOf(view)}
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

// metaOf returns the identity of the log that a view shows; the zero record if it shows
// none.
func metaOf(v fleetlog.View) (meta metaRecord) {
	json.Unmarshal(v.Messages[metaKey].Value, &meta)
	return meta
}

// covers returns why a view does not show which sessions may be serving without a change
// that was appended at a position. The view must reach the position, and be of the log
// that has the change at this position. A log that was replaced may have the change too,
// at another one, and may show sessions at higher positions, which seem to have joined
// later. If a later message has taken the change's key, only a node that has applied the
// change knows which log has it, and another view would not help.
func covers(v fleetlog.View, entry fleetlog.Entry, pos fleetlog.Position, log metaRecord) error {
	meta := metaOf(v)
	m := v.Messages[entry.Key]
	switch {
	case v.Position < pos:
		return errBehind
	case meta.Log == "" || meta.Lease < minLease:
		return errNoMeta
	case m.Position >= pos && (m.ID != entry.ID || m.Position != pos) && meta.Log != log.Log:
		return errTaken
	}
	return nil
}

// later reports whether m is a later heartbeat of the same process than other.
func (m member) later(other member) bool {
	if m.id.n != other.id.n {
		return m.id.n > other.id.n
	}
	return m.at > other.at
}
