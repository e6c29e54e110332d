package tokencache

import (
	"context"
	"crypto/sha256"
	"time"
)

// HitInSteps is the way of a hit in one cache, with something in between the lookup
// and the last check.
func HitInSteps[R any](c *Cache[R], token Token, between func()) bool {
	g := c.group
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
	m, shelves, selected := &g.memory, shelvesOf(g.caches()), selectionOf([]Selector{sel})
	m.mu.Lock()
	ev := m.markLocked(shelves, selected)
	before()
	m.happenLocked(ev, why, shelves, selected)
	m.discountMarkedLocked(ev)
	m.mu.Unlock()
	after()
	for more := true; more; {
		m.mu.Lock()
		more = m.unlinkMarkedLocked(ev)
		m.mu.Unlock()
	}
}

// WithMutexHeld calls f while the group's mutex is held: whatever f does cannot
// take it.
func WithMutexHeld(g *Group, f func()) {
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	f()
}

// Linked returns how many entries are in the group's table, absences too.
func Linked(g *Group) int {
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	return g.memory.linked
}

// Buckets returns how many buckets the group's table has, and how many it still has to
// take over.
func Buckets(g *Group) (n, left int) {
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	t := g.memory.table.Load()
	if t.old != nil {
		left = len(t.old) - int(t.moved.Load())
	}
	return len(t.buckets), left
}

// GrowLate does what a load does that needs the table's next array, up to where the array
// is made. End makes it.
func GrowLate(g *Group) (end func()) {
	m := &g.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.growing = true
	need := 2 * len(m.table.Load().buckets)
	return func() { m.grow(need) }
}

// AuthenticateUnderMutex is AuthenticateToken for a caller that comes, and gets the mutex,
// when f has returned, which is called while the mutex is held: before all who wait for it.
func AuthenticateUnderMutex[R any](c *Cache[R], token Token, f func()) (v Verdict[any], err error) {
	g, ctx := c.group, context.Background()
	a := attempt{only: c.store, token: token, query: g.newQuery(&token)}
	g.memory.mu.Lock()
	f()
	a.came = g.memory.clock.now()
	l, noAnswer := g.stepLocked(ctx, g.caches(), &a, &v)
	g.memory.mu.Unlock()
	if noAnswer != nil {
		return v, noAnswer
	}
	<-l.done
	if done, err := g.take(ctx, &a, l, &v); done {
		return v, err
	}
	return v, g.refuse(token.id, a.reason)
}

// Hints returns how many hints the group keeps.
func Hints(g *Group) int {
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	return g.memory.hints.known.Len()
}

// Lengths returns the lengths of secrets that a hit tries, in order.
func Lengths(g *Group) []int { return *g.memory.lengths.common.Load() }

// HashOf is the hash under which the table has a name.
func HashOf(g *Group, id TokenID) uint32 { return g.memory.keys.hashID(id) }

// DigestOf is the digest of a token's secret.
func DigestOf(g *Group, token Token) [20]byte { return g.newQuery(&token).digest }

// KeyOf is the key under a group's digests.
func KeyOf(g *Group) string { return string(g.memory.keys.key[:]) }

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
func EqualDigests(a, b [20]byte) bool {
	d, e := digest(a), digest(b)
	return d.equal(&e)
}

// Bookkeeping counts what the group keeps for accounts, whether or not it has
// entries.
func Bookkeeping(g *Group) (n int) {
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	for _, s := range g.caches() {
		n += len(s.shelf.cells) + s.slots.Accounts() + s.strays.Accounts() + len(s.strays.loads) + len(s.loads.of)
		for c := s.shelf.epoch.cells; c != nil; c = c.next {
			n++
		}
	}
	return n + g.work.hashing.Accounts() + len(g.work.deadlines.loads) + g.memory.linked
}

// ClearInSteps is Group.Clear; step is called under the mutex after the instant and
// after each step of unlinking, with how many entries are linked.
func ClearInSteps(g *Group, step func(linked int)) {
	m, shelves, all := &g.memory, shelvesOf(g.caches()), selection{everything: true}
	m.mu.Lock()
	defer m.mu.Unlock()
	ev := m.markLocked(shelves, all)
	m.happenLocked(ev, CauseAsked, shelves, all)
	m.discountMarkedLocked(ev)
	step(m.linked)
	for m.unlinkMarkedLocked(ev) {
		step(m.linked)
	}
}

// PolicyHits shows a policy of that capacity the keys one by one, and returns
// which of them it held.
func PolicyHits(capacity int, keys []uint32) (hits []bool) {
	p, held := newPolicy(capacity), make(map[uint32]*entry)
	owner := &cell{epoch: new(epoch)}
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
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	g.memory.ticking.Stop()
}

// Tick is what the group's timer does once a second.
func Tick(g *Group) { g.memory.tick() }

// BeginClose is what Group.Close does before the instant.
func BeginClose(g *Group) { g.seal() }

// HeldByEvict is Group.Evict. It returns for how long the mutex was held each time, by
// this clock, first to mark, then for each step of unlinking.
func HeldByEvict(g *Group, sel Selector, now func() time.Duration) []time.Duration {
	return g.held(selectionOf([]Selector{sel}), now)
}

// HeldByClear is Group.Clear, measured like HeldByEvict.
func HeldByClear(g *Group, now func() time.Duration) []time.Duration {
	return g.held(selection{everything: true}, now)
}

func (g *Group) held(selected selection, now func() time.Duration) (held []time.Duration) {
	m, shelves := &g.memory, shelvesOf(g.caches())
	m.mu.Lock()
	began := now()
	ev := m.markLocked(shelves, selected)
	m.happenLocked(ev, CauseAsked, shelves, selected)
	m.discountMarkedLocked(ev)
	held = append(held, now()-began)
	m.mu.Unlock()
	for more := true; more; {
		m.mu.Lock()
		began := now()
		more = m.unlinkMarkedLocked(ev)
		held = append(held, now()-began)
		m.mu.Unlock()
	}
	return held
}

// WatchChanges returns a function that waits until another change of a source is counted, and
// reports whether what the cache remembers of the token is still confirmed then.
func WatchChanges[R any](c *Cache[R], token Token) (wait func() bool) {
	g := c.group
	q := g.newQuery(&token)
	var v Verdict[any]
	e, _ := g.find(c.store, &q, &v)
	n := g.memory.changes.Load()
	return func() bool {
		for g.memory.changes.Load() == n {
		}
		return e.live()
	}
}

// A Mutex is the group's kind of mutex.
type Mutex struct{ mutex }

// GiveWay unlocks it.
func (m *Mutex) GiveWay() { m.giveWay() }

// Waiting returns how many wait for it.
func (m *Mutex) Waiting() int { return int(m.waiting.Load()) }
