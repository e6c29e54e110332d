package tokencache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/semaphore"
)

// A store is a cache without its record type: what Cache[R] wraps.
//
// The first fields are immutable after New, but for the table, which is replaced as
// it grows. The next synchronise themselves. The last are guarded by the group's
// mutex: it is one for all stores, as an eviction is one instant for all of them.
type store struct {
	group *Group
	name  string
	table atomic.Pointer[table] // read without the mutex

	lookup  func(context.Context, TokenID) (Answer[any], error)
	mayHold func(TokenID) bool // nil: always
	cancel  func()             // ends the subscription

	ttl, jitter time.Duration // ttl 0: nothing is stored
	loadTimeout time.Duration
	maxEntries  int
	errTimeout  error
	slots       *semaphore.Weighted // one for each load that may run

	_    [cacheLine]byte // hits read what is above, and misses write what is below
	hits hitCounter

	loads     sync.WaitGroup // the loads that run
	closeOnce sync.Once

	// guarded by group.mu
	lru       *simplelru.LRU[*entry, struct{}]
	cells     map[Account]*cell
	loading   int // loads that have not landed
	unsettled unsettled
	watch     *time.Timer // see watchLocked; nil: not set
	doomed    doomed
	closed    bool
	stats     Stats
}

// doomed is what one eviction marked in a store, between the two passes of
// forget.
type doomed struct {
	entries []*entry // unless all
	all     bool
	live    int // how many of them had not expired
}

func (s *store) resetLocked() {
	s.table.Store(newTable(minBuckets))
	s.lru, _ = simplelru.NewLRU[*entry, struct{}](s.maxEntries, nil) // fails for sizes below 1 only
	s.cells = make(map[Account]*cell)
}

// peek looks the query up without a lock. A live entry is a hit: the digest
// agrees; or a refusal: it does not, and the entry answers for its name.
func (s *store) peek(q *query) (e *entry, hit bool) {
	e = s.table.Load().find(q, s.group)
	if e == nil {
		return nil, false
	}
	hit = e.digest.equal(&q.digest)
	if !e.live(&s.group.clock) {
		return nil, false
	}
	return e, hit
}

// touch notes that e was used.
func (s *store) touch(e *entry) {
	if !e.used.Load() {
		e.used.Store(true)
	}
}

// publishLocked stores the result of a load, in the place of whatever the name
// had. The flight is still registered: see land.
func (s *store) publishLocked(f *flight, record any) {
	if s.ttl <= 0 {
		return
	}
	s.stats.Stored++
	if old := s.findLocked(f.hash, f.token.id); old != nil {
		s.removeLocked(old)
	}
	s.makeRoomLocked()
	e := &entry{
		digest:  f.key.digest,
		name:    strings.Clone(f.token.id.Name),
		record:  record,
		cell:    f.cell,
		expires: f.started + int64(s.lifetime()),
		hash:    f.hash,
		cut:     uint16(headLen(len(f.cell.prefix) + len(f.token.id.Name))),
	}
	t := s.table.Load()
	if s.lru.Len() >= len(t.buckets) {
		t = t.grownLocked()
		s.table.Store(t)
	}
	s.group.startClockLocked()
	f.cell.linkLocked(e)
	s.lru.Add(e, struct{}{})
	t.insertLocked(e)
}

// lifetime returns the TTL less a random part of the jitter, so that tokens which
// were loaded together are not all loaded again together.
func (s *store) lifetime() time.Duration {
	if s.jitter <= 0 {
		return s.ttl
	}
	return s.ttl - rand.N(s.jitter)
}

// secondChances bounds how many entries that were used since the policy last
// passed by are moved to the front to make room for one.
const secondChances = 64

// makeRoomLocked displaces an entry when the store is full: the least recently
// used, as far as the marks tell.
func (s *store) makeRoomLocked() {
	if s.lru.Len() < s.maxEntries {
		return
	}
	var oldest *entry
	for range secondChances {
		oldest, _, _ = s.lru.GetOldest()
		if !oldest.used.Load() {
			break
		}
		oldest.used.Store(false)
		s.lru.Get(oldest) // to the front
	}
	oldest, _, _ = s.lru.GetOldest()
	s.removeLocked(oldest)
	s.stats.Displaced++
}

// removeExpiredLocked removes entries from the end of the replacement order while
// they have expired.
func (s *store) removeExpiredLocked() {
	for range sweep {
		oldest, _, ok := s.lru.GetOldest()
		if !ok || !s.group.clock.passed(oldest.expires) {
			return
		}
		s.removeLocked(oldest)
		s.stats.Expired++
	}
}

// sweep bounds how many expired entries are removed at a time.
const sweep = 1000

// findLocked finds the entry of a name, live or not.
func (s *store) findLocked(hash uint32, id TokenID) *entry {
	for e := s.table.Load().bucket(hash).Load(); e != nil; e = e.next.Load() {
		if e.hash == hash && e.name == id.Name && e.cell.account == id.Account {
			return e
		}
	}
	return nil
}

// removeLocked makes e unreachable.
func (s *store) removeLocked(e *entry) {
	s.table.Load().removeLocked(e)
	s.lru.Remove(e)
	e.cell.unlinkLocked(e)
	s.releaseLocked(e.cell)
}

// releaseLocked frees a cell that holds nothing any more.
func (s *store) releaseLocked(c *cell) {
	if c.emptyLocked() {
		delete(s.cells, c.account)
	}
}

// condemnLocked marks the selected entries and takes the selected loads off the
// register.
func (s *store) condemnLocked(t *tombstone, sels []Selector) {
	for _, sel := range sels {
		c := s.cells[sel.account]
		if c == nil {
			continue
		}
		for key, f := range c.flights {
			if sel.Selects(TokenID{sel.account, key.name}) {
				f.unregisterLocked()
			}
		}
		if sel.all {
			for e := c.entries; e != nil; e = e.succ {
				s.condemnEntryLocked(t, e)
			}
		}
		for _, name := range sel.names {
			id := TokenID{sel.account, name}
			if e := s.findLocked(s.group.hashID(id), id); e != nil {
				s.condemnEntryLocked(t, e)
			}
		}
		s.releaseLocked(c)
	}
}

func (s *store) condemnEntryLocked(t *tombstone, e *entry) {
	if s.doomed.markLocked(t, e) {
		s.doomed.entries = append(s.doomed.entries, e)
	}
}

// condemnAllLocked is condemnLocked for everything.
func (s *store) condemnAllLocked(t *tombstone) {
	s.doomed.all = true
	for _, c := range s.cells {
		for _, f := range c.flights {
			f.unregisterLocked()
		}
		for e := c.entries; e != nil; e = e.succ {
			s.doomed.markLocked(t, e)
		}
	}
}

// markLocked puts the tombstone on e, and reports whether e had none: two
// selectors of one eviction may cover the same token.
func (d *doomed) markLocked(t *tombstone, e *entry) bool {
	if e.tomb.Load() != nil {
		return false
	}
	e.tomb.Store(t)
	if e.expires > t.carved {
		d.live++
	}
	return true
}

// buryLocked unlinks what was condemned, and returns how much of it was live.
func (s *store) buryLocked() int {
	d := s.doomed
	s.doomed = doomed{}
	if d.all {
		s.resetLocked()
	}
	for _, e := range d.entries {
		s.removeLocked(e)
	}
	s.stats.Evicted += uint64(d.live)
	return d.live
}

// close drops everything, ends the loads and waits for them. The subscription
// ends last: until nothing is served any more, changes must arrive.
func (s *store) close() {
	s.closeOnce.Do(func() {
		var settled []*flight
		s.group.forget(s, func(s *store, t *tombstone) {
			s.closed = true
			s.condemnAllLocked(t)
			settled = s.dropLocked()
		})
		for _, f := range settled {
			close(f.done)
		}
		s.cancel()
	})
	s.loads.Wait()
}

func (s *store) wrap(err error) error { return fmt.Errorf("tokencache: cache %q: %w", s.name, err) }

// snapshot returns the counters.
func (s *store) snapshot() Stats {
	s.group.mu.Lock()
	defer s.group.mu.Unlock()
	st := s.stats
	st.Hits, st.Mismatches = s.hits.read()
	st.Entries = s.lru.Len()
	st.Loading = s.loading
	return st
}
