package tokencache

import "sync/atomic"

// snapshot returns the counters.
func (s *store) snapshot() Stats {
	mu := &s.shelf.memory.mu
	mu.Lock()
	defer mu.Unlock()
	st := s.shelf.stats
	s.shelf.hits.read(&st)
	st.Entries = s.shelf.epoch.count
	st.Loading, st.Waiting, st.Abandoned = s.slots.Running(), s.slots.Waiting(), s.strays.All()
	return st
}

// Stats returns the group's counters. They are read one after the other.
func (g *Group) Stats() GroupStats {
	st := GroupStats{
		Confirmed:        g.outcomes.byLoad.Load(),
		Refused:          g.outcomes.refusals.Load(),
		NotServiceTokens: g.outcomes.notServiceTokens.Load(),
		Overloaded:       g.outcomes.overloads.Load(),
		Closed:           g.outcomes.closed.Load(),
		GaveUp:           g.outcomes.gaveUp.Load(),
		Lapsed:           g.outcomes.lapsed.Load(),
		NoAnswer:         g.outcomes.others.Load(),
	}
	for _, s := range g.caches() {
		var hits Stats
		s.shelf.hits.read(&hits)
		st.Confirmed += hits.Hits
	}
	if len(g.caches()) == 0 {
		return st
	}
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	st.Hashing, st.Waiting = g.work.hashing.Running(), g.work.hashing.Waiting()
	return st
}

// An outcomeCounter counts how authentications end, except for hits.
type outcomeCounter struct {
	byLoad, notServiceTokens, refusals        atomic.Uint64
	overloads, gaveUp, lapsed, closed, others atomic.Uint64
}

func (c *outcomeCounter) confirmed() { c.byLoad.Add(1) }
func (c *outcomeCounter) rejected()  { c.notServiceTokens.Add(1) }
func (c *outcomeCounter) refused()   { c.refusals.Add(1) }

func (c *outcomeCounter) failed(reason Reason) {
	switch reason {
	case ReasonOverloaded:
		c.overloads.Add(1)
	case ReasonGaveUp:
		c.gaveUp.Add(1)
	case ReasonLapsed:
		c.lapsed.Add(1)
	case ReasonClosed:
		c.closed.Add(1)
	default:
		c.others.Add(1)
	}
}
