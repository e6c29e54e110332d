package tokencache

// DecodeBase64 is the hit path's decoder.
var DecodeBase64 = decodeBase64

// DecodedLen is how much room it needs.
var DecodedLen = decodedLen

// HitInSteps is the hit path for one cache, with something in between the lookup
// and the last check.
func HitInSteps[R any](c *Cache[R], token Token, between func()) bool {
	g := c.store.group
	var buf [stackBuffer]byte
	q := g.newTokenQuery(token, buf[:])
	e := c.store.table.Load().find(&q, g)
	if e == nil || !e.digest.equal(&q.digest) {
		return false
	}
	between()
	return e.live(&g.clock)
}

// EvictInSteps is Group.Evict, with something before and something after its
// instant.
func EvictInSteps(g *Group, sel Selector, before, after func()) {
	last := (*g.stores.Load())[len(*g.stores.Load())-1]
	g.forget(nil, func(s *store, t *tombstone) {
		s.condemnLocked(t, []Selector{sel})
		if s == last {
			before()
			t.fallen.Store(true) // as forget does next
			after()
		}
	})
}

// WithMutexHeld calls f while the group's mutex is held: whatever f does cannot
// take it.
func WithMutexHeld(g *Group, f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
}
