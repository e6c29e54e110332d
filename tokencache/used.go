package tokencache

import "strings"

// A past is when entries that are gone were last used, since that was last asked. If the
// newer generation is full, it becomes the older one, whose uses are lost.
//
// It is guarded by the memory's mutex.
type past struct {
	generations [2]generation
	newer       int // of the generations
	room        int // of a generation; 0: maxPast
}

// A generation is uses in the order in which their entries went. Their names stand one
// behind the other: the name of an entry would keep the entry, and a copy of each would
// cost an eviction as much as all else that it does.
type generation struct {
	uses  []use
	names []byte
}

// A use is when a token was last used.
type use struct {
	account Account
	end     int    // of the name, in names
	lap     uint32 // of the memory's clock
}

// maxPast is how many uses of entries that are gone are kept at least for a host that
// has never asked for them; for one that asks, as many as its cache has entries, if that
// is more.
const maxPast = 10_000

// addLocked keeps when an entry was used that is about to go.
func (p *past) addLocked(a Account, e *entry) {
	if lap := e.state.Load() >> flagBits; lap != 0 {
		p.putLocked(a, e.name(), lap)
	}
}

func (p *past) putLocked(a Account, name string, lap uint32) {
	g := &p.generations[p.newer]
	if len(g.uses) >= max(p.room, maxPast) {
		p.newer ^= 1
		g = &p.generations[p.newer]
		g.uses, g.names = g.uses[:0], g.names[:0]
	}
	g.names = append(g.names, name...)
	g.uses = append(g.uses, use{a, len(g.names), lap})
}

// takeLocked returns the uses, and forgets them.
func (p *past) takeLocked(room int) [2]generation {
	taken := p.generations
	*p = past{room: room}
	return taken
}

// noteIn notes the latest use of each token.
func (g *generation) noteIn(latest map[TokenID]uint32) {
	names, from := string(g.names), 0
	for _, u := range g.uses {
		id := TokenID{u.account, names[from:u.end]}
		latest[id] = max(latest[id], u.lap)
		from = u.end
	}
}

// maxStep is how many entries are looked at while the mutex is held once.
const maxStep = 1024

// takeUses returns when entries were last used since the last call, those that are gone
// included, by token: the latest use of each.
func (s *shelf) takeUses() map[TokenID]uint32 {
	m := s.memory
	latest := make(map[TokenID]uint32)
	m.mu.Lock()
	gone := s.past.takeLocked(s.policy.capacity)
	m.mu.Unlock()
	for i := range gone {
		gone[i].noteIn(latest)
	}
	for from := 0; from >= 0; {
		m.mu.Lock()
		from = s.takeStepLocked(from, latest)
		m.mu.giveWay()
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
			if e.refuses() || owner.epoch.shelf != s {
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
		s.past.putLocked(id.Account, id.Name, lap)
	}
}
