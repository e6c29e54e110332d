package tokencache

import (
	"iter"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"
)

// A memory has what the caches of a group remember, each on its shelf. Hits read it
// without a lock; whatever changes it, or must happen at the same instant, holds mu: see
// evict.go.
type memory struct {
	// What hits read, on lines of the processor's cache that no miss and no
	// eviction writes.
	table   atomic.Pointer[table] // replaced as it grows, under mu
	lengths lengths
	clock   clock
	keys    keys
	changes atomic.Uint64 // of the sources, written under mu: see Group.Authenticate
	ticked  func()        // called once a second while there are entries; immutable

	_ [cacheLine]byte

	mu      mutex       // guards the fields below, and all that says so
	ticking *time.Timer // nil: the clock takes no notes
	linked  int         // entries in the table
	growing bool        // an array is being made for the table
	swept   int         // the last bucket that the sweep looked at
	hints   hints
}

// start makes an empty memory of the zero one.
func (m *memory) start(ticked func()) {
	m.clock.start()
	m.keys = newKeys()
	m.hints = newHints()
	m.ticked = ticked
	m.table.Store(newTable(minBuckets))
	m.lengths.publishLocked()
}

// A label is how memory knows a token and its secret.
type label struct {
	id     TokenID
	digest digest
	hash   uint32 // of the head of the token's bearer
	text   string // of its entry, see there; made by a caller, whose stack is large enough already
	length int    // of the secret
}

// A fact is the result of a read, as far as memory is concerned.
type fact struct {
	role   role
	record any
	dies   int64 // clock reading: when the token, or its secret, expires
	until  int64 // clock reading: until when the fact may be believed, whatever the TTL
}

// A shelf has what one cache remembers.
//
// The first fields are immutable. The last are guarded by the memory's mutex, which is
// one for all shelves, as an eviction is one instant for all of them.
type shelf struct {
	memory    *memory
	name      string
	index     int           // in the group
	ttl       time.Duration // 0: nothing is stored
	jitter    time.Duration
	stale     time.Duration // how long an entry may answer past its time while the source fails
	refresh   int64         // how long before its expiry an entry in use is loaded again; 0: it is not
	absentTTL time.Duration // 0: no refusal is remembered
	hidden    bool          // whether refusals from memory are withheld, to hide names
	closed    atomic.Bool   // written under the mutex

	_    [cacheLine]byte // hits read what is above, and misses write what is below
	hits hitCounter

	// guarded by memory.mu
	epoch     *epoch
	cells     map[Account]*cell // of the epoch
	policy    policy
	refusals  fifo // the oldest first
	changed   changed
	past      past
	displaced int // since the observer was told
	stats     Stats
}

// newShelf returns a shelf that holds nothing.
func newShelf(m *memory, name string, cfg Config) *shelf {
	s := &shelf{
		memory: m, name: name,
		ttl: cfg.TTL, jitter: cfg.Jitter, stale: cfg.ServeStale, refresh: int64(cfg.RefreshAhead),
		absentTTL: cfg.AbsentTTL, hidden: cfg.HideNames,
		policy: newPolicy(cfg.MaxEntries),
	}
	if s.ttl == 0 || s.hidden {
		s.absentTTL = 0
	}
	s.beginEpochLocked()
	return s
}

// bit is the shelf's in a set of the first 64 caches of a group; 0: it is not among
// them.
func (s *shelf) bit() uint64 { return 1 << s.index }

// rememberLocked stores the result of a read whose ticket is good. It replaces what the
// shelf had of the name, as far as the fact contradicts it. It returns what growLocked
// returns.
func (s *shelf) rememberLocked(t *ticket, l *label, f *fact, now int64, refreshed bool) (need int) {
	if !s.makeWayLocked(l, f, now) {
		return 0
	}
	t.supersedeLocked()
	if f.role < absent {
		return s.confirmLocked(t, l, f, now, refreshed)
	}
	return s.refuseLocked(t, l, f)
}

// makeWayLocked unlinks the entries that the fact disproves or replaces. It reports
// whether to store the fact.
func (s *shelf) makeWayLocked(l *label, f *fact, now int64) bool {
	keep := true
	for old := range s.ofLocked(l.hash, l.id) {
		switch {
		case f.role >= absent && !old.refuses() && old.good > now && !old.digest.equal(&l.digest):
			// The token of another secret stays for its time.
			keep = false
		case f.role == sole, f.role >= absent, old.refuses(), old.role == sole, old.role == f.role, old.digest.equal(&l.digest):
			s.unlinkLocked(old)
		}
	}
	return keep
}

// disproveLocked takes back that the source confirms a token, now that it refuses this
// secret for the name. A wrong secret says nothing of another one.
func (s *shelf) disproveLocked(t *ticket, l *label) {
	for old := range s.ofLocked(l.hash, l.id) {
		if !old.refuses() && old.digest.equal(&l.digest) {
			s.unlinkLocked(old)
			t.supersedeLocked()
		}
	}
}

func (s *shelf) confirmLocked(t *ticket, l *label, f *fact, now int64, refreshed bool) (need int) {
	if s.ttl <= 0 {
		return 0
	}
	m := s.memory
	if e := s.policy.victimLocked(); e != nil {
		s.displaceLocked(e, now)
	}
	s.stats.Stored++
	if refreshed {
		s.stats.Refreshed++
	}
	e := newEntry(t, l, f)
	e.digest, e.record = l.digest, f.record
	e.step = uint8(randomStep())
	good := after(t.began, s.lifetime(e.step))
	if f.until < good || f.dies < good {
		e.step = cutShort
	}
	e.setTimes(min(good, f.until), f.dies)
	e.state.Store(lapOf(t.began) << flagBits)
	e.length = m.lengths.addLocked(l.length)
	s.policy.addLocked(e)
	return s.linkLocked(e)
}

// refuseLocked remembers that the source refuses the name.
func (s *shelf) refuseLocked(t *ticket, l *label, f *fact) (need int) {
	if s.absentTTL <= 0 {
		return 0
	}
	e := newEntry(t, l, f)
	e.setTimes(after(t.began, s.absentTTL), f.dies)
	if s.refusals.len >= maxRefusals {
		s.unlinkLocked(s.refusals.first)
	}
	s.refusals.push(e)
	return s.linkLocked(e)
}

// maxRefusals is how many refusals a cache remembers: 10 000 names of 100 bytes take
// 4 MB, and 6 MB if each is of an account of its own.
const maxRefusals = 10_000

func newEntry(t *ticket, l *label, f *fact) *entry {
	e := entryWith(l.text)
	e.lastByte, e.hash, e.role = uint8(len(l.id.Name)-1), l.hash, f.role
	e.owner.Store(t.cell)
	return e
}

// lifetime returns the TTL less a part of the jitter, so that tokens which were loaded
// together are not all loaded again together.
func (s *shelf) lifetime(step uint8) time.Duration {
	if s.jitter <= 0 {
		return s.ttl
	}
	return s.ttl - s.jitter/jitterSteps*time.Duration(step)
}

// jitterSteps is in how many parts jitter is divided: an entry's step is less.
const jitterSteps = cutShort - 1

func randomStep() int { return rand.IntN(cutShort) }

// linkLocked makes an entry reachable.
func (s *shelf) linkLocked(e *entry) (need int) {
	m := s.memory
	e.owner.Load().linkLocked(e)
	m.linked++
	m.startClockLocked()
	m.table.Load().insertLocked(e)
	return m.growLocked(nil)
}

// ofLocked yields the cache's entries of a name, expired or not. The entry that it has
// yielded may be unlinked before it continues.
func (s *shelf) ofLocked(hash uint32, id TokenID) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		at := s.memory.table.Load().at(hash)
		for e := at.next(); e != nil; e = at.next() {
			owner := e.owner.Load()
			if owner.epoch.shelf == s && e.name() == id.Name && owner.account == id.Account && !owner.dead() && !yield(e) {
				return
			}
		}
	}
}

// findSecretLocked finds what the cache remembers of a name with this secret.
func (s *shelf) findSecretLocked(hash uint32, d *digest, id TokenID) *entry {
	for e := range s.ofLocked(hash, id) {
		if !e.refuses() && e.digest.equal(d) {
			return e
		}
	}
	return nil
}

// refusesLocked returns why memory refuses a secret that no entry of the name confirms;
// 0: it does not.
func (s *shelf) refusesLocked(hash uint32, id TokenID, now int64) Reason {
	known := uint8(0)
	for e := range s.ofLocked(hash, id) {
		switch {
		case e.expiredBy(now):
			s.expireLocked(e, now)
		case e.good <= now || s.hidden:
		case e.refuses():
			s.hits.refusal()
			return refusals[e.role]
		default:
			known |= 1 << e.role
		}
	}
	if !knowAll(known) {
		return 0
	}
	s.hits.mismatch()
	return ReasonWrongSecret
}

// staleUntil returns until when an entry may answer while its source does not.
func (s *shelf) staleUntil(e *entry) int64 {
	if e.refuses() {
		return e.good
	}
	return min(after(e.good, s.stale), e.dead())
}

// expiredBy reports whether nothing needs the entry any more.
func (e *entry) expiredBy(now int64) bool {
	owner := e.owner.Load()
	return e.good <= now && !owner.dead() && owner.epoch.shelf.staleUntil(e) <= now
}

// unlinkLocked makes an entry unreachable, and dead: see entry. What was evicted is
// counted to its eviction.
func (s *shelf) unlinkLocked(e *entry) {
	m := s.memory
	owner := e.owner.Load()
	m.table.Load().removeLocked(e)
	if e.refuses() {
		s.refusals.remove(e)
	} else {
		s.past.addLocked(owner.account, e)
		s.policy.removeLocked(e)
		m.lengths.removeLocked(e.length)
		if ev := owner.evictedBy(); ev != nil && e.good > ev.at {
			ev.gone[slices.Index(ev.shelves, s)]++
			s.stats.Evicted++
		}
	}
	cell := owner.home()
	cell.unlinkLocked(e)
	e.owner.Store(gone)
	m.linked--
	cell.releaseLocked()
}

// displaceLocked unlinks an entry to make room.
func (s *shelf) displaceLocked(e *entry, now int64) {
	if !e.owner.Load().dead() {
		s.stats.Displaced++
		s.displaced++
		s.hintLocked(e, now)
	}
	s.unlinkLocked(e)
}

// expireLocked unlinks an entry that has expired.
func (s *shelf) expireLocked(e *entry, now int64) {
	if !e.refuses() {
		s.stats.Expired++
		s.hintLocked(e, now)
	}
	s.unlinkLocked(e)
}

// hintLocked remembers that the entry's secret was good until now.
func (s *shelf) hintLocked(e *entry, now int64) {
	if !e.refuses() {
		s.memory.hints.addLocked(e.key(), now)
	}
}
