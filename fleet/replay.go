package fleet

import (
	"hash/maphash"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// A replay remembers the messages that a session has applied since its own last
// heartbeat. A follower that is opened anew starts at that heartbeat, and must deliver
// the same messages again: after the log was rolled back, or replaced, the same positions
// hold other messages.
//
// The heartbeat vouches for all before it. Only this session writes its key, and each
// heartbeat is accepted only if the one before is the key's last message, so a log
// that lost it refuses the next.
//
// A message may have gone since, if a later one of the same key took its place. Either
// that one is delivered too, or its position is before the applied one, and then it must
// be known as well.
type replay struct {
	seed maphash.Seed
	seen map[fleetlog.Position]uint64
}

func newReplay() *replay { return &replay{maphash.MakeSeed(), make(map[fleetlog.Position]uint64)} }

func (r *replay) add(m fleetlog.Message) { r.seen[m.Position] = r.print(m) }

// restart forgets what is before the session's own heartbeat.
func (r *replay) restart(m fleetlog.Message) {
	clear(r.seen)
	r.add(m)
}

// matches reports whether the message is the one that was delivered there before.
func (r *replay) matches(m fleetlog.Message) bool {
	print, ok := r.seen[m.Position]
	return ok && print == r.print(m)
}

func (r *replay) print(m fleetlog.Message) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	for _, s := range []string{m.ID, m.Key, string(m.Value)} {
		h.WriteString(s)
		h.WriteByte(0)
	}
	if m.Deleted {
		h.WriteByte(1)
	}
	return h.Sum64()
}
