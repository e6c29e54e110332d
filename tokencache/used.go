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

// maxStep is how many entries are looked at while the mutex is held once.
const maxStep = 1024

// takeUses returns when entries were last used since the last call, those that are gone
// included, by token: the latest use of each.
func (s *shelf) takeUses() map[TokenID]uint32 {
	m := s.memory
	latest := make(map[TokenID]uint32)
	m.mu.Lock()
	for _, u := range s.past.takeLocked(s.policy.capacity) {
		latest[u.id] = max(latest[u.id], u.lap)
	}
	m.mu.Unlock()
	for from := 0; from >= 0; {
		m.mu.Lock()
		from = s.takeStepLocked(from, latest)
		m.mu.Unlock()
	}
	return latest
}

// takeStepLocked takes the uses of the entries in some buckets, and returns where to go
// on; -1: that was the last. An entry that moves meanwhile, as the table grows, keeps its
// use for the next call.
func (s *shelf) takeStepLocked(from int, latest map[TokenID]uint32) int {
	t := s.memory.table.Load()
	to := min(from+maxStep, len(t.buckets))
	for i := from; i < to; i++ {
		for e := range t.buckets[i].all() {
			owner := e.owner.Load()
			if e.refuses() || owner.era.shelf != s {
				continue
			}
			// A hit that notes a use in between keeps it: then the swap fails.
			state := e.state.Load()
			if lap := state >> flagBits; lap != 0 && e.state.CompareAndSwap(state, state&stateFlags) {
				id := TokenID{owner.account, strings.Clone(e.name())} // which must not keep the entry
				latest[id] = max(latest[id], lap)
			}
		}
	}
	if to == len(t.buckets) {
		return -1
	}
	return to
}

// giveBack keeps uses for the next call.
func (s *shelf) giveBack(uses map[TokenID]uint32) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	for id, lap := range uses {
		s.past.putLocked(use{id, lap})
	}
}
