package tokencache

import "context"

// refreshAhead loads an entry again that is in use and expires soon, once. The
// moment is spread by the entry's share of the jitter.
func (g *Group) refreshAhead(e *entry, q *query) {
	shelf := e.owner.Load().epoch.shelf
	if shelf == nil || e.step == cutShort || e.state.Load()&refreshing != 0 {
		return
	}
	early := shelf.refresh - shelf.refresh/(4*jitterSteps)*int64(e.step)
	if g.memory.clock.now() < e.good-early || e.state.Or(refreshing)&refreshing != 0 {
		return // it is too early, or another hit was first
	}
	token, err := ParseBearer(q.bearer)
	if err != nil {
		return
	}
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	s := g.caches()[shelf.index]
	if e.live() && !shelf.closed.Load() {
		at := g.memory.clock.read()
		if l, _ := s.obtainLocked(context.Background(), &token, q, at, true); l != nil && l.custody.secret.is(token.secret) {
			l.custody.leaveLocked()
			return
		}
	}
	clear(token.secret.bytes())
}
