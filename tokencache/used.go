package tokencache

import "strings"

// A past is when entries that are gone were last used, since that was last asked.
// Guarded by the memory's mutex.
type past struct {
	uses   []use
	oldest int // the one that the next takes the place of, when there is no more room
	room   int // 0: maxPast
}

// A use is when a token was last used: a lap of the memory's clock.
type use struct {
	id  TokenID
	lap uint32
}

// maxPast is how many uses of entries that are gone are kept for a host that has never
// asked for them; for one that asks, as many as its cache has entries, if that is more.
const maxPast = 10_000

// addLocked keeps when an entry was used that is about to go, with a copy of its name,
// which would keep the entry.
func (p *past) addLocked(a Account, e *entry) {
	if lap := e.state.Load() >> flagBits; lap != 0 {
		p.putLocked(use{TokenID{a, strings.Clone(e.name())}, lap})
	}
}

func (p *past) putLocked(u use) {
	if len(p.uses) < max(p.room, maxPast) {
		p.uses = append(p.uses, u)
		return
	}
	p.uses[p.oldest] = u
	p.oldest = (p.oldest + 1) % len(p.uses)
}

// takeLocked returns the uses, and forgets them.
func (p *past) takeLocked(room int) []use {
	uses := p.uses
	*p = past{room: room}
	return uses
}
