package tokencache

import "sync/atomic"

// An entry is one remembered verdict. All fields but the atomic ones, and those
// marked as guarded by the group's mutex, are immutable after publication.
type entry struct {
	digest  digest
	name    string // the token's name; the account is the cell's
	record  any
	cell    *cell
	expires int64 // clock reading
	hash    uint32
	cut     uint16 // headLen of the qualified name

	// used is the recency mark: set by a hit unless it is set already, so that a
	// hot entry's cache lines stay shared between cores; cleared when the
	// replacement policy passes by.
	used atomic.Bool

	tomb atomic.Pointer[tombstone] // INVARIANT 3 of Group; written under the mutex
	next atomic.Pointer[entry]     // in its bucket; written under the mutex

	prev, succ *entry // in the cell's list; guarded by the group's mutex
}

// A tombstone is shared by all entries that one eviction removes.
type tombstone struct {
	fallen atomic.Bool
	carved int64 // clock reading: which of them had expired before
}

// live reports whether the entry is good at this moment. It must be the last
// thing a hit does: INVARIANT 4 of Group.
func (e *entry) live(c *clock) bool {
	if c.passed(e.expires) {
		return false
	}
	t := e.tomb.Load()
	return t == nil || !t.fallen.Load()
}

func (e *entry) id() TokenID { return TokenID{e.cell.account, e.name} }

// is reports whether the entry's qualified name is this one.
func (e *entry) is(qualified []byte) bool {
	prefix := e.cell.prefix
	return len(qualified) == len(prefix)+len(e.name) &&
		string(qualified[:len(prefix)]) == prefix && string(qualified[len(prefix):]) == e.name
}

// A table is a hash table with chaining. One goroutine at a time may write, under
// the group's mutex; any number may read without it. A reader may miss an entry
// while a table grows, as entries move from chain to chain, but what it finds is
// what it asked for, and each chain ends.
type table struct {
	buckets []atomic.Pointer[entry] // a power of two
}

const minBuckets = 64

func newTable(buckets int) *table {
	return &table{buckets: make([]atomic.Pointer[entry], buckets)}
}

func (t *table) bucket(hash uint32) *atomic.Pointer[entry] {
	return &t.buckets[int(hash)&(len(t.buckets)-1)]
}

func (t *table) find(q *query, g *Group) *entry {
	for e := t.bucket(q.hash).Load(); e != nil; e = e.next.Load() {
		if e.hash == q.hash && q.names(e, g) {
			return e
		}
	}
	return nil
}

func (t *table) insertLocked(e *entry) {
	b := t.bucket(e.hash)
	e.next.Store(b.Load())
	b.Store(e)
}

// removeLocked takes e out of its chain. e keeps its next, for the readers that
// stand on it.
func (t *table) removeLocked(e *entry) {
	at := t.bucket(e.hash)
	for at.Load() != e {
		at = &at.Load().next
	}
	at.Store(e.next.Load())
}

// grownLocked returns a table of twice the size with all entries of t, which is
// unusable for writers afterwards.
func (t *table) grownLocked() *table {
	grown := newTable(2 * len(t.buckets))
	for i := range t.buckets {
		for e := t.buckets[i].Load(); e != nil; {
			next := e.next.Load()
			grown.insertLocked(e)
			e = next
		}
	}
	return grown
}
