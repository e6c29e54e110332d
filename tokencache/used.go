package tokencache

import "strings"

// A past has the last uses of entries that are gone, since the last call of Used. Until the
// first call it stays empty, since most hosts never ask. If the newer generation is full,
// it becomes the older one, whose uses are lost.
//
// It is guarded by the memory's mutex.
type past struct {
	generations [2]generation
	newer       int // of the generations
	room        int // of a generation; 0: nobody has asked yet
}

// A generation has uses in the order in which their entries went. Their names are in one
// buffer, one after the other: the name of an entry would keep the entry in memory, and a
// copy of each would double the cost of an eviction.
type generation struct {
	uses  []use
	names []byte
}

// A use says when a token was last used.
type use struct {
	account Account
	end     int    // of the name, in names
	lap     uint32 // of the memory's clock
}

// leastRoom is how many uses of entries that are gone are kept at least. A cache that has
// more entries keeps as many.
const leastRoom = 10_000

// addLocked keeps the last use of an entry that is about to go.
func (p *past) addLocked(a Account, e *entry) {
	if p.room == 0 {
		return
	}
	if lap := e.state.Load() >> flagBits; lap != 0 {
		p.putLocked(a, e.name(), lap)
	}
}

func (p *past) putLocked(a Account, name string, lap uint32) {
	g := &p.generations[p.newer]
	if len(g.uses) >= p.room {
		p.newer ^= 1
		g = &p.generations[p.newer]
		g.uses, g.names = g.uses[:0], g.names[:0]
	}
	g.names = append(g.names, name...)
	g.uses = append(g.uses, use{a, len(g.names), lap})
}

// takeLocked returns the uses, and forgets them.
func (p *past) takeLocked(capacity int) [2]generation {
	taken := p.generations
	*p = past{room: max(capacity, leastRoom)}
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

// maxStep is how many entries are looked at in one section under the mutex.
const maxStep = 1024

// takeUses returns, by token, the latest uses since the last call, including those of
// entries that are gone.
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
			// If a hit notes a use in between, the swap fails, and the use is kept.
			state := e.state.Load()
			if lap := state >> flagBits; lap != 0 && e.state.CompareAndSwap(state, state&stateFlags) {
				id := TokenID{owner.account, strings.Clone(e.name())} // cloned, so that it does not keep the entry in memory
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
