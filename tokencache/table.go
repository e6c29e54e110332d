package tokencache

import (
	"iter"
	"math/bits"
	"sync/atomic"
)

// A table is a hash table of the entries of all caches of a group: one lookup finds
// what each of them remembers of a name. One goroutine at a time may write, under the
// mutex; any number may read without it.
//
// A bucket fills one line of the processor's cache. Beside each entry's address it has a
// byte of the entry's hash, so that a hit reads one line of the table and, except one
// time in fifty, no entry but its own.
//
// It grows in steps: a new array takes over the buckets of the old one a few at a time,
// with each entry that is inserted. A reader may miss an entry that moves meanwhile, or
// is inserted or removed. An entry that it finds is the one that it asked for, and each
// bucket ends. A miss does no harm: the caller looks again under the mutex.
type table struct {
	buckets []bucket // a power of two

	old   []bucket      // what buckets takes over, half as long; nil: nothing
	moved *atomic.Int64 // how many buckets of old have been taken over
}

// A bucket has the entries of some hashes, and a further bucket if they are many.
type bucket struct {
	tags    atomic.Uint64 // a byte of the hash for each slot; of an empty slot, any
	slots   [slots]atomic.Pointer[entry]
	further atomic.Pointer[bucket]
}

const (
	slots      = 6
	fill       = 4 // the average number of taken slots in a bucket at which the table grows
	minBuckets = 64
	movesEach  = 2 // buckets taken over with each insertion
)

func newTable(buckets int) *table { return &table{buckets: make([]bucket, buckets)} }

// bucket returns the bucket that a hash belongs to.
func (t *table) bucket(hash uint32) *bucket {
	if t.old != nil {
		if i := int64(hash) & int64(len(t.old)-1); i >= t.moved.Load() {
			return &t.old[i]
		}
	}
	return &t.buckets[int(hash)&(len(t.buckets)-1)]
}

// A cursor goes through the entries of one hash.
type cursor struct {
	bucket *bucket
	slots  uint64 // of the bucket, those to look at: see match
	hash   uint32
}

// at returns a cursor before the first entry of the hash. If it has no slots, there is
// most likely no entry.
func (t *table) at(hash uint32) cursor {
	b := t.bucket(hash)
	return cursor{b, b.match(hash), hash}
}

// next returns the next entry; nil: there is no more.
func (c *cursor) next() *entry {
	for {
		for c.slots != 0 {
			e := c.bucket.in(c.slots)
			c.slots &= c.slots - 1
			if e != nil && e.hash == c.hash {
				return e
			}
		}
		if c.bucket = c.bucket.further.Load(); c.bucket == nil {
			c.bucket = &noBucket
			return nil
		}
		c.slots = c.bucket.match(c.hash)
	}
}

// noBucket is the bucket of a cursor that has been through all of them.
var noBucket bucket

// tag returns the byte of a hash that is stored beside its entry. It does not influence
// the choice of the bucket while the table has fewer than 2^24.
func tag(hash uint32) uint64 { return uint64(hash >> 24) }

const lowBits, highBits = 0x0000010101010101, 0x0000808080808080 // of the bytes of the slots

// match returns, as the highest bits of their bytes, the slots whose tag is the hash's.
// It may return one more behind such a slot, which then has another hash.
func (b *bucket) match(hash uint32) uint64 {
	differ := b.tags.Load() ^ tag(hash)*lowBits
	return (differ - lowBits) &^ differ & highBits
}

// in returns the entry in the first of these slots, or nil.
func (b *bucket) in(slots uint64) *entry {
	return b.slots[uint(bits.TrailingZeros64(slots))/8].Load()
}

// all yields the entries of the bucket. The entry that it has yielded may be removed
// before it continues.
func (b *bucket) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for ; b != nil; b = b.further.Load() {
			for i := range b.slots {
				if e := b.slots[i].Load(); e != nil && !yield(e) {
					return
				}
			}
		}
	}
}

func (t *table) insertLocked(e *entry) {
	b := t.bucket(e.hash)
	for {
		for i := range b.slots {
			if b.slots[i].Load() == nil {
				b.tags.Store(b.tags.Load()&^(0xff<<(8*i)) | tag(e.hash)<<(8*i))
				b.slots[i].Store(e)
				return
			}
		}
		if b.further.Load() == nil {
			b.further.Store(new(bucket))
		}
		b = b.further.Load()
	}
}

// removeLocked takes e out of its bucket. Readers may still hold it.
func (t *table) removeLocked(e *entry) {
	for b := t.bucket(e.hash); ; b = b.further.Load() {
		for i := range b.slots {
			if b.slots[i].Load() == e {
				b.slots[i].Store(nil)
				return
			}
		}
	}
}

// moveLocked takes over some buckets of the old array, and reports whether that
// was the last of them.
func (t *table) moveLocked(buckets int) (done bool) {
	i := t.moved.Load()
	for ; buckets > 0 && i < int64(len(t.old)); buckets, i = buckets-1, i+1 {
		t.moved.Store(i + 1) // from here on, the bucket's hashes are looked for in the new array
		for b := &t.old[i]; b != nil; b = b.further.Load() {
			for j := range b.slots {
				if e := b.slots[j].Swap(nil); e != nil {
					t.insertLocked(e)
				}
			}
		}
	}
	return i == int64(len(t.old))
}

// growLocked keeps the table as long as it has entries: it begins to grow with the
// array that was made for that, or goes on growing. It returns the length of the
// array that is needed next; 0: none.
func (m *memory) growLocked(array []bucket) (need int) {
	t := m.table.Load()
	switch {
	case t.old != nil:
		if t.moveLocked(movesEach) {
			m.table.Store(&table{buckets: t.buckets})
		}
	case array != nil && len(array) == 2*len(t.buckets):
		m.table.Store(&table{buckets: array, old: t.buckets, moved: new(atomic.Int64)})
	case m.linked > fill*len(t.buckets) && !m.growing:
		m.growing = true
		return 2 * len(t.buckets)
	}
	return 0
}

// grow makes the array that growLocked asked for, without the mutex: clearing so
// much memory takes milliseconds. Others may insert meanwhile, or clear all: then
// another array is needed, which is made at once, as no later insertion asks again.
func (m *memory) grow(need int) {
	for need > 0 {
		array := make([]bucket, need)
		m.mu.Lock()
		m.growing = false
		need = m.growLocked(array)
		m.mu.Unlock()
	}
}

// shrinkLocked gives the table's memory back when nothing is in it any more.
func (m *memory) shrinkLocked() {
	if t := m.table.Load(); m.linked == 0 && len(t.buckets) > minBuckets {
		m.table.Store(newTable(minBuckets))
		m.swept = 0
	}
}
