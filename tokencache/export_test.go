package tokencache

import (
	"crypto/sha256"
	"time"
)

// HitInSteps is the way of a hit in one cache, with something in between the lookup
// and the last check.
func HitInSteps[R any](c *Cache[R], token Token, between func()) bool {
	g := c.store.group
	q := g.newQuery(&token)
	var v Verdict[any]
	e, _ := g.find(c.store, &q, &v)
	if e == nil {
		return false
	}
	between()
	return g.hit(e, &q, &v) == confirmed
}

// EvictInSteps is Group.Evict, with something before its instant, under the mutex,
// and something after it, before anything is unlinked.
func EvictInSteps(g *Group, why Cause, sel Selector, before, after func()) {
	g.mu.Lock()
	ev := g.markLocked(why, *g.stores.Load(), func(s *store, ev *eviction) { s.markLocked(ev, sel) })
	before()
	g.happenLocked(ev, why)
	g.settleMarkedLocked(ev)
	g.mu.Unlock()
	after()
	for more := true; more; {
		g.mu.Lock()
		more = g.unlinkMarkedLocked(ev)
		g.mu.Unlock()
	}
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

// Buckets returns how many chains the group's table has, and how many it still has to
// take over.
func Buckets(g *Group) (n, left int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.table.Load()
	if t.old != nil {
		left = len(t.old) - int(t.moved.Load())
	}
	return len(t.buckets), left
}

// Hints returns how many hints the group keeps.
func Hints(g *Group) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hints.digests.Len()
}

// Lengths returns the lengths of secrets that a hit tries, in order.
func Lengths(g *Group) []int { return *g.lengths.common.Load() }

// HashOf is the hash under which the table has a name.
func HashOf(g *Group, id TokenID) uint32 { return g.hashID(id) }

// DigestOf is the digest of a token's secret.
func DigestOf(g *Group, token Token) [24]byte { return g.newQuery(&token).digest }

// KeyOf is the key under a group's digests.
func KeyOf(g *Group) string { return string(g.key[:]) }

// StateHasSum reports whether digests are read from the hash's state.
var StateHasSum = stateHasSum

// WithoutState calls f while they are not.
func WithoutState(f func()) {
	stateHasSum = false
	defer func() { stateHasSum = StateHasSum }()
	f()
}

// LeftByDigest returns what the buffer holds once the message's digest was computed.
func LeftByDigest(message []byte) []byte {
	var buf [2 * sha256.BlockSize]byte
	copy(buf[:], message)
	sumPadded(new(digest), &buf, len(message))
	return buf[:]
}

// EqualDigests compares as a hit does.
func EqualDigests(a, b [24]byte) bool {
	d, e := digest(a), digest(b)
	return d.equal(&e)
}

// Bookkeeping counts what the group keeps for accounts, whether or not it has
// entries.
func Bookkeeping(g *Group) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range *g.stores.Load() {
		n += len(s.cells) + s.slots.Accounts() + s.strays.Accounts()
		for c := s.era.cells; c != nil; c = c.next {
			n++
		}
	}
	return n + g.hashing.Accounts() + len(g.deadlines.loads) + g.linked
}

// ClearInSteps is Group.Clear; step is called under the mutex after the instant and
// after each step of unlinking, with how many entries are linked.
func ClearInSteps(g *Group, step func(linked int)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ev := g.markLocked(CauseAsked, *g.stores.Load(), (*store).markAllLocked)
	g.happenLocked(ev, CauseAsked)
	g.settleMarkedLocked(ev)
	step(g.linked)
	for g.unlinkMarkedLocked(ev) {
		step(g.linked)
	}
}

// PolicyHits has a policy of that capacity see the keys one by one, and returns
// which of them it held.
func PolicyHits(capacity int, keys []uint32) (hits []bool) {
	p, held := newPolicy(capacity), make(map[uint32]*entry)
	owner := &cell{era: new(era)}
	for _, key := range keys {
		e := held[key]
		hits = append(hits, e != nil)
		if e != nil {
			e.state.Or(used)
			continue
		}
		if victim := p.victimLocked(); victim != nil {
			p.removeLocked(victim)
			delete(held, victim.hash)
		}
		e = &entry{hash: key}
		e.owner.Store(owner)
		p.addLocked(e)
		held[key] = e
	}
	return hits
}

// StopTicking stops the timer that notes the time, as a pause of the process does.
func StopTicking(g *Group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ticking.Stop()
}

// Tick is what the group's timer does once a second.
func Tick(g *Group) { g.tick() }

// BeginClose is what Group.Close does before the instant.
func BeginClose(g *Group) { g.seal() }

// HeldByEvict is Group.Evict. It returns for how long the mutex was held each time, by
// this clock, first to mark, then for each step of unlinking.
func HeldByEvict(g *Group, sel Selector, now func() time.Duration) []time.Duration {
	return g.held(func(s *store, ev *eviction) { s.markLocked(ev, sel) }, now)
}

// HeldByClear is Group.Clear, measured like HeldByEvict.
func HeldByClear(g *Group, now func() time.Duration) []time.Duration {
	return g.held((*store).markAllLocked, now)
}

func (g *Group) held(mark func(*store, *eviction), now func() time.Duration) (held []time.Duration) {
	g.mu.Lock()
	began := now()
	ev := g.markLocked(CauseAsked, *g.stores.Load(), mark)
	ev.done.Store(true) // as evict does next
	g.settleMarkedLocked(ev)
	held = append(held, now()-began)
	g.mu.Unlock()
	for more := true; more; {
		g.mu.Lock()
		began := now()
		more = g.unlinkMarkedLocked(ev)
		held = append(held, now()-began)
		g.mu.Unlock()
	}
	return held
}
