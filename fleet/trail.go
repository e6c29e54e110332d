package fleet

import (
	"hash/maphash"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// A trail is what a session remembers of the messages that it has applied since its
// own last heartbeat. A follower that is opened anew starts at that heartbeat, and
// what comes by must be what came by then: after the log was rolled back, or
// replaced, the same positions hold other messages.
//
// The heartbeat vouches for all before it. Only this session writes its key, and each
// heartbeat is accepted only if the one before is the key's last message, so a log
// that lost it refuses the next.
//
// A message may have gone since because a later one of the same key took its place.
// That one either comes by as well, or its place is before the applied position, and
// then it must be known, too.
type trail struct {
	seed maphash.Seed
	seen map[fleetlog.Position]uint64
}

func newTrail() *trail { return &trail{maphash.MakeSeed(), make(map[fleetlog.Position]uint64)} }

func (t *trail) add(m fleetlog.Message) { t.seen[m.Position] = t.print(m) }

// restart forgets what is before the session's own heartbeat.
func (t *trail) restart(m fleetlog.Message) {
	clear(t.seen)
	t.add(m)
}

// matches reports whether the message is what was there before.
func (t *trail) matches(m fleetlog.Message) bool {
	print, ok := t.seen[m.Position]
	return ok && print == t.print(m)
}

func (t *trail) print(m fleetlog.Message) uint64 {
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, s := range []string{m.ID, m.Key, string(m.Value)} {
		h.WriteString(s)
		h.WriteByte(0)
	}
	if m.Deleted {
		h.WriteByte(1)
	}
	return h.Sum64()
}
