package tokencache

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/tokencache/internal/fair"
)

// A store is a cache without its record type: what Cache[R] wraps.
//
// The first fields are immutable after New. The last are guarded by the group's
// mutex, which is one for all stores, as an eviction is one instant for all of
// them.
type store struct {
	group  *Group
	name   string
	index  int           // in the group's stores
	ttl    time.Duration // 0: nothing is stored
	jitter time.Duration
	stale  time.Duration // how long an entry may answer past its time while the source fails
	holder Holder        // nil: the source is none
	closed atomic.Bool   // written under the mutex

	refresh   int64 // how long before its expiry an entry in use is loaded again; 0: it is not
	hideNames bool

	lookup      func(context.Context, TokenID) (Answer[any], error)
	cancel      func() // ends the subscription
	loadTimeout time.Duration
	absentTTL   time.Duration // 0: absence is not remembered
	errTimeout  error

	_    [cacheLine]byte // hits read what is above, and misses write what is below
	hits hitCounter

	running tally // goroutines
	dummies dummies

	// guarded by group.mu
	era       *era
	cells     map[Account]*cell // of the era
	loads     map[loadKey]*load // that may be joined
	peakLoads int               // how many they were at once
	policy    policy
	absences  fifo // the oldest first
	slots     *queue
	strays    fair.Count[Account] // loads that run on after they were settled
	failures  failures
	displaced int // since the observer was told
	stats     Stats
}

// rememberLocked stores the result of a load that confirmed its token, in the
// place of whatever the name had. The load is still registered. It returns what
// growLocked returns.
func (s *store) rememberLocked(l *load, out *outcome) (need int) {
	g := s.group
	for old := s.findLocked(l.hash, l.token.id); old != nil; old = s.nextLocked(old, l.token.id) {
		if out.role == sole || old.absent || old.role == sole || old.role == out.role || old.digest.equal(&l.key.digest) {
			s.unlinkLocked(old)
		}
	}
	if s.ttl <= 0 {
		return 0
	}
	if e := s.policy.victimLocked(); e != nil {
		s.displaceLocked(e)
	}
	s.stats.Stored++
	if l.refresh {
		s.stats.Refreshed++
	}
	e := s.newEntry(l)
	e.digest, e.record = l.key.digest, out.record
	e.step = uint8(rand.N(256))
	e.expires = after(l.begun, s.lifetime(e.step))
	e.role = out.role
	if e.role == present && !out.previousEnds.IsZero() {
		// Read anew when the previous secret ceases to be good, to be sole.
		e.expires = min(e.expires, after(g.clock.now(), time.Until(out.previousEnds)))
	}
	if !out.expires.IsZero() {
		e.expires, e.mortal = min(e.expires, after(g.clock.now(), time.Until(out.expires))), true
	}
	e.length = g.lengths.addLocked(l.token.secret.Len())
	s.policy.addLocked(e)
	return s.linkLocked(e)
}

// lifetime returns the TTL less a random part of the jitter, so that tokens which
// were loaded together are not all loaded again together.
func (s *store) lifetime(step uint8) time.Duration {
	if s.jitter <= 0 {
		return s.ttl
	}
	return s.ttl - s.jitter/255*time.Duration(step)
}

// forgetLocked takes back what a load found not to be so, and remembers that the
// source does not hold the token, where it said so. It returns what growLocked
// returns.
func (s *store) forgetLocked(l *load, reason Reason) (need int) {
	absent := reason == ReasonUnknownToken && s.absentTTL > 0
	for old := s.findLocked(l.hash, l.token.id); old != nil; old = s.nextLocked(old, l.token.id) {
		if !old.absent && !old.digest.equal(&l.key.digest) && (reason == ReasonWrongSecret || old.expires > s.group.clock.now()) {
			absent = false // a wrong secret says nothing of another one; an entry within its time stays for it
			continue
		}
		if !old.absent || absent {
			s.unlinkLocked(old)
		}
	}
	if !absent {
		return 0
	}
	e := s.newEntry(l)
	e.absent = true
	e.expires = after(l.begun, s.absentTTL)
	if s.absences.len >= maxAbsences {
		s.unlinkLocked(s.absences.first)
	}
	s.absences.push(e)
	return s.linkLocked(e)
}

// maxAbsences is how many absences a cache remembers: 10 000 names of 100 bytes
// take 4 MB, and 6 MB where each is of an account of its own.
const maxAbsences = 10_000

func (s *store) newEntry(l *load) *entry {
	e := &entry{text: l.text, nameLen: uint16(len(l.token.id.Name)), hash: l.hash}
	e.owner.Store(l.ticket.cell)
	return e
}

// linkLocked makes an entry reachable.
func (s *store) linkLocked(e *entry) (need int) {
	g := s.group
	e.owner.Load().linkLocked(e)
	g.linked++
	g.startClockLocked()
	g.table.Load().insertLocked(e)
	return g.growLocked(nil)
}

// findLocked finds what the store remembers of a name, expired or not; nextLocked
// finds more of it.
func (s *store) findLocked(hash uint32, id TokenID) *entry {
	return s.matchLocked(s.group.table.Load().bucket(hash).Load(), hash, id)
}

// nextLocked finds what else the store remembers of the name of e, which findLocked
// or nextLocked has found, and which may be unlinked since.
func (s *store) nextLocked(e *entry, id TokenID) *entry {
	return s.matchLocked(e.next.Load(), e.hash, id)
}

func (s *store) matchLocked(e *entry, hash uint32, id TokenID) *entry {
	for ; e != nil; e = e.next.Load() {
		owner := e.owner.Load()
		if e.hash == hash && owner.era.store == s && e.name() == id.Name && owner.account == id.Account && !owner.dead() {
			return e
		}
	}
	return nil
}

// findSecretLocked finds what the store remembers of a name with the query's secret.
func (s *store) findSecretLocked(q *query, id TokenID) *entry {
	for e := s.findLocked(q.hash, id); e != nil; e = s.nextLocked(e, id) {
		if !e.absent && e.digest.equal(&q.digest) {
			return e
		}
	}
	return nil
}

// unlinkLocked makes an entry unreachable, and dead: see entry. What was evicted is
// counted to its eviction.
func (s *store) unlinkLocked(e *entry) {
	g := s.group
	owner := e.owner.Load()
	g.table.Load().removeLocked(e)
	if e.absent {
		s.absences.remove(e)
	} else {
		s.policy.removeLocked(e)
		g.lengths.removeLocked(e.length)
		if ev := owner.evictedBy(); ev != nil && e.expires > ev.at {
			ev.gone[s]++
			s.stats.Evicted++
		}
	}
	cell := owner.home()
	cell.unlinkLocked(e)
	e.owner.Store(gone)
	g.linked--
	cell.releaseLocked()
}

// displaceLocked unlinks an entry to make room.
func (s *store) displaceLocked(e *entry) {
	if !e.owner.Load().dead() {
		s.stats.Displaced++
		s.displaced++
		s.group.hints.addLocked(e.digest, s, s.group.clock.now())
	}
	s.unlinkLocked(e)
}

// expiredLocked reports whether nothing needs the entry any more.
func (e *entry) expiredLocked(now int64) bool {
	s := e.owner.Load().era.store
	until := e.expires
	if !e.absent && !e.mortal {
		until = after(until, s.stale)
	}
	return until <= now && !e.owner.Load().dead()
}

// expireLocked unlinks an entry that has expired.
func (g *Group) expireLocked(e *entry) {
	s := e.owner.Load().era.store
	if !e.absent {
		s.stats.Expired++
		g.hints.addLocked(e.digest, s, g.clock.now())
	}
	s.unlinkLocked(e)
}

// staleLocked sets the verdict if the cache remembers the token past its time, while its
// source does not answer. Nothing remembers it within its time.
func (s *store) staleLocked(a *attempt, v *Verdict[any]) bool {
	if s.stale <= 0 {
		return false
	}
	e := s.findSecretLocked(&a.query, a.token.id)
	if e == nil || e.mortal || after(e.expires, s.stale) <= s.group.clock.now() {
		return false
	}
	s.stats.Stale++
	s.group.outcomes.confirmed()
	*v = Verdict[any]{Token: a.token.id, Cache: s.name, Record: e.record, FromMemory: true, Stale: true}
	return true
}

// Dummies are the first hashes that a source has handed out, of each kind; nil: none
// yet. Where names are hidden, a refusal computes one of each kind that there is, the
// token's own or the dummy.
type dummies struct {
	fast, slow atomic.Pointer[func(Secret) bool]
}

func (d *dummies) of(fast bool) *atomic.Pointer[func(Secret) bool] {
	if fast {
		return &d.fast
	}
	return &d.slow
}

func (d *dummies) keep(verify func(Secret) bool, fast bool) {
	if of := d.of(fast); of.Load() == nil {
		dummy := verify // to store verify itself would make each load allocate it
		of.Store(&dummy)
	}
}

func (d *dummies) get(fast bool) func(Secret) bool {
	if verify := d.of(fast).Load(); verify != nil {
		return *verify
	}
	return nil
}
