package tokencache

import "sync/atomic"

// A table is a hash table with chaining, of the entries of all caches of a group:
// one lookup finds what each of them remembers of a name. One goroutine at a time
// may write, under the mutex; any number may read without it.
//
// It grows in steps: a new array takes over the chains of the old one a few at a
// time, with each entry that is inserted. A reader may miss an entry that moves
// meanwhile, or whose neighbour does. What it finds is what it asked for, and each
// chain ends. A miss does no harm: the caller looks again under the mutex.
type table struct {
	buckets []atomic.Pointer[entry] // a power of two

	old   []atomic.Pointer[entry] // what buckets takes over, half as long; nil: nothing
	moved *atomic.Int64           // how many chains of old have been taken over
}

const (
	minBuckets = 64
	movesEach  = 8 // chains taken over with each insertion
)

func newTable(buckets int) *table { return &table{buckets: make([]atomic.Pointer[entry], buckets)} }

// bucket returns the bucket in which the chain of a hash begins.
func (t *table) bucket(hash uint32) *atomic.Pointer[entry] {
	if t.old != nil {
		if i := int64(hash) & int64(len(t.old)-1); i >= t.moved.Load() {
			return &t.old[i]
		}
	}
	return &t.buckets[int(hash)&(len(t.buckets)-1)]
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

// moveLocked takes over some chains of the old array, and reports whether that
// was the last of them.
func (t *table) moveLocked(chains int) (done bool) {
	i := t.moved.Load()
	for ; chains > 0 && i < int64(len(t.old)); chains, i = chains-1, i+1 {
		e := t.old[i].Load()
		t.moved.Store(i + 1) // from here on, the chain's hashes are looked for in the new array
		t.old[i].Store(nil)
		for e != nil {
			next := e.next.Load()
			t.insertLocked(e)
			e = next
		}
	}
	return i == int64(len(t.old))
}

// growLocked keeps the table as long as it has entries: it begins to grow with the
// array that was made for that, or goes on growing. It returns the length of the
// array that is needed next; 0: none.
func (m *memory) growLocked(array []atomic.Pointer[entry]) (need int) {
	t := m.table.Load()
	switch {
	case t.old != nil:
		if t.moveLocked(movesEach) {
			m.table.Store(&table{buckets: t.buckets})
		}
	case array != nil && len(array) == 2*len(t.buckets):
		m.table.Store(&table{buckets: array, old: t.buckets, moved: new(atomic.Int64)})
	case m.linked > len(t.buckets) && !m.growing:
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
		array := make([]atomic.Pointer[entry], need)
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
