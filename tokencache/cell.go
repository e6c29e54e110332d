package tokencache

import (
	"encoding/base64"
	"sync/atomic"
)

// A cell is what one cache holds of one account, entries and tickets, since the account
// was last evicted as a whole. A wildcard marks it. It is in its epoch's list while it is
// in use.
//
// The account, head, shelf and epoch are immutable; a mark is written under the
// mutex; the rest is guarded by it.
type cell struct {
	account Account
	head    string // what the account determines of the base64 of its bearers
	mark    mark
	epoch   *epoch

	// Hits read what is above, one line of the processor's cache.

	origin  *cell // of a marked copy: the cell whose list its entries are in
	entries *entry
	tickets *ticket // of the reads that are going on
	count   int     // entries that confirm

	prev, next *cell // in the epoch's list
}

// An epoch is what one cache has held since it was last cleared as a whole. A clearing
// marks it.
type epoch struct {
	mark  mark
	shelf *shelf // immutable

	_ [cacheLine - 16]byte // hits read what is above

	cells *cell // guarded by the mutex
	count int   // of entries that confirm; guarded by the mutex
}

// All marks that an eviction sets point to it.
type eviction struct {
	done atomic.Bool
	at   int64 // clock reading: which entries had expired before

	// guarded by the group's mutex
	shelves []*shelf // from which it evicts
	gone    []int    // live entries that went, from each of the shelves
	cells   []*cell  // marked ones
	epochs  []*epoch // marked ones
	names   []*entry // entries with a marked owner
}

// A mark says which eviction selects the thing that has the mark; nil: none does.
type mark struct{ by atomic.Pointer[eviction] }

// done reports whether the eviction has happened.
func (m *mark) done() bool {
	ev := m.by.Load()
	return ev != nil && ev.done.Load()
}

// dead reports whether an eviction of the cell, or of its whole epoch, has happened.
func (c *cell) dead() bool { return c.mark.done() || c.epoch.mark.done() }

// gone is the owner of unlinked entries that no eviction selected: displaced,
// replaced or expired ones.
var gone = func() *cell {
	c := &cell{epoch: new(epoch)}
	ev := &eviction{}
	ev.done.Store(true)
	c.mark.by.Store(ev)
	return c
}()

// evictedBy returns the eviction that has evicted the cell, or nil.
func (c *cell) evictedBy() *eviction {
	switch {
	case c.mark.done():
		return c.mark.by.Load()
	case c.epoch.mark.done():
		return c.epoch.mark.by.Load()
	default:
		return nil
	}
}

// marked returns an owner for entries of the cell which an eviction selects one by
// one.
func (c *cell) marked(ev *eviction) *cell {
	m := &cell{account: c.account, head: c.head, epoch: c.epoch, origin: c}
	m.mark.by.Store(ev)
	return m
}

// newCellLocked returns a cell for an account that the shelf knows nothing of.
func (s *shelf) newCellLocked(a Account) *cell {
	plain := bearerPrefix + a.String() + "/"
	account := plain[len(bearerPrefix) : len(plain)-1]
	c := cellWith(base64.RawStdEncoding.EncodeToString([]byte(plain))[:sextets(len(plain))])
	c.account = Account{account[:len(a.Namespace)], account[len(a.Namespace)+1:]}
	c.epoch = s.epoch
	c.next = s.epoch.cells
	if c.next != nil {
		c.next.prev = c
	}
	s.epoch.cells = c
	s.cells[c.account] = c
	return c
}

// releaseLocked frees a cell that holds nothing any more.
func (c *cell) releaseLocked() {
	if c.entries != nil || c.tickets != nil {
		return
	}
	c.leaveEpochLocked()
	if s := c.epoch.shelf; s.cells[c.account] == c {
		delete(s.cells, c.account)
	}
}

func (c *cell) leaveEpochLocked() {
	switch {
	case c.prev != nil:
		c.prev.next = c.next
	case c.epoch.cells == c:
		c.epoch.cells = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
}

// home returns the cell in whose list the entries of this owner are.
func (c *cell) home() *cell {
	if c.origin != nil {
		return c.origin
	}
	return c
}

func (c *cell) linkLocked(e *entry) {
	e.cellNext = c.entries
	if e.cellNext != nil {
		e.cellNext.cellPrev = e
	}
	c.entries = e
	if !e.refuses() {
		c.count++
		c.epoch.count++
	}
}

func (c *cell) unlinkLocked(e *entry) {
	if e.cellPrev != nil {
		e.cellPrev.cellNext = e.cellNext
	} else {
		c.entries = e.cellNext
	}
	if e.cellNext != nil {
		e.cellNext.cellPrev = e.cellPrev
	}
	e.cellPrev, e.cellNext = nil, nil
	if !e.refuses() {
		c.count--
		if !c.mark.done() { // else it is off the epoch's count already
			c.epoch.count--
		}
	}
}
