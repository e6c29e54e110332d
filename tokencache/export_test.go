package tokencache

// HitInSteps is the way of a hit in one cache, with something in between the lookup
// and the last check.
func HitInSteps[R any](c *Cache[R], token Token, between func()) bool {
	g := c.store.group
	q := g.newQuery(&token)
	f := finding{hitIndex: 1 << 30}
	g.find(&f, c.store, &q)
	if f.hit == nil {
		return false
	}
	between()
	var v Verdict[any]
	return g.hit(f.hit, &q, &v) == confirmed
}

// EvictInSteps is Group.Evict, with something before and something after its
// instant.
func EvictInSteps(g *Group, sel Selector, before, after func()) {
	g.mu.Lock()
	ev := g.markLocked(CauseAsked, *g.stores.Load(), func(s *store, ev *eviction) { s.markLocked(ev, sel) })
	before()
	ev.done.Store(true) // as evict does next
	after()
	g.settleMarkedLocked(ev)
	for g.unlinkMarkedLocked(ev) {
	}
	g.mu.Unlock()
}

// WithMutexHeld calls f while the group's mutex is held: whatever f does cannot
// take it.
func WithMutexHeld(g *Group, f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}

// Linked returns how many entries are in the group's table, absences too.
func Linked(g *Group) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.linked
}
