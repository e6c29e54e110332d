package tokencache

import (
	"encoding/base64"
	"sync/atomic"
)

// An entry is what one cache remembers of one token: that it was confirmed, with
// which secret and record; or, where absent is set, that the source does not hold
// it.
//
// INVARIANT: an unlinked entry is dead. Whoever unlinks an entry gives it a dead
// owner, under the group's mutex, so that a hit which stands on the entry does not
// take it for good.
//
// What is not marked as guarded is immutable after publication. The size matters:
// 128 bytes are a size class of Go's allocator.
type entry struct {
	next  atomic.Pointer[entry] // in the chain of its bucket; written under the mutex
	owner atomic.Pointer[cell]  // written under the mutex; see live

	// text is the token's name, and behind it what the name determines of the
	// bearer's base64, from where the owner's head ends: see query.
	text    string
	expires int64 // clock reading
	digest  digest
	hash    uint32
	nameLen uint16

	length uint8 // index of the secret's length in the group's lengths
	role   role
	absent bool
	mortal bool  // the token itself expires
	inMain bool  // of the policy's queues; guarded by the group's mutex
	step   uint8 // how many 255ths of the jitter the lifetime was cut by; see lifetime

	// A hit sets used unless it is set, so that the lines of a hot entry stay shared
	// between processors; the policy clears it. The hit that loads the entry again
	// ahead of its expiry sets refreshing.
	state atomic.Uint32

	record any

	// guarded by the group's mutex
	cellPrev, cellNext   *entry // in the owner's list
	queuePrev, queueNext *entry // in the policy's queue, or among the absences
}

// A role says which of a name's good secrets an entry has. A cache has at most one
// entry of a name in each role, and one that is sole beside no other.
type role uint8

const (
	sole     role = iota // no other secret is good
	present              // the previous one is good, too
	previous             // the present one is good, too
)

// refuses reports whether entries in these roles, a bit for each, are all that the
// source confirms of a name: any other secret is wrong.
func refuses(roles uint8) bool { return roles&(1<<sole) != 0 || roles == 1<<present|1<<previous }

const (
	used       = 1 << iota // since the policy last passed by
	refreshing             // the load that takes the entry's place has begun
)

func (e *entry) isUsed() bool { return e.state.Load()&used != 0 }

func (e *entry) name() string { return e.text[:e.nameLen] }

// rest returns the characters of base64 that the entry's name determines behind
// its account's.
func (e *entry) rest() string { return e.text[e.nameLen:] }

// live reports whether nothing has evicted or unlinked the entry. It must be the
// last thing that a hit does. Its first load is the instant of the hit: whatever
// was evicted before that instant is seen to be, by one of the three loads.
func (e *entry) live() bool { return !e.owner.Load().dead() }

// A cell is what one cache holds of one account, entries and loads, since the
// account was last evicted as a whole. It is what a wildcard marks. It is in its
// era's list while it is in use.
//
// The account, head, store and era are immutable; a mark is written under the
// group's mutex; the rest is guarded by it.
type cell struct {
	account Account
	head    string // what the account determines of the base64 of its bearers
	mark    mark
	era     *era

	// Hits read what is above, one line of the processor's cache.

	origin  *cell // of a marked copy: the cell whose list its entries are in
	entries *entry
	tickets *ticket // of the reads that are going on
	count   int     // entries that are not absences

	prev, next *cell // in the era's list
}

// An era is what one cache holds, since it was last cleared as a whole. It is what
// a clearing marks.
type era struct {
	mark  mark
	store *store // immutable

	_ [cacheLine - 16]byte // hits read what is above

	cells *cell // guarded by the group's mutex
	count int   // of entries that are not absences; guarded by the group's mutex
}

// A mark says which eviction selects what it stands on; nil: none does.
type mark struct{ by atomic.Pointer[eviction] }

// done reports whether the eviction has happened.
func (m *mark) done() bool {
	ev := m.by.Load()
	return ev != nil && ev.done.Load()
}

// dead reports whether an eviction of the cell, or of all that it is part of, has
// happened.
func (c *cell) dead() bool { return c.mark.done() || c.era.mark.done() }

// gone is the owner of unlinked entries that no eviction selected: displaced,
// replaced or expired ones.
var gone = func() *cell {
	c := &cell{era: new(era)}
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
	case c.era.mark.done():
		return c.era.mark.by.Load()
	default:
		return nil
	}
}

// marked returns an owner for entries of the cell which an eviction selects one by
// one.
func (c *cell) marked(ev *eviction) *cell {
	m := &cell{account: c.account, head: c.head, era: c.era, origin: c}
	m.mark.by.Store(ev)
	return m
}

// sextets returns how many characters of base64 the first n bytes determine.
func sextets(n int) int { return n * 8 / 6 }

// headLen returns how many characters of base64 an account determines.
func headLen(a Account) int {
	return sextets(len(bearerPrefix) + len(a.Namespace) + len("/") + len(a.Service) + len("/"))
}

// newCellLocked returns a cell for an account that the store knows nothing of.
func (s *store) newCellLocked(a Account) *cell {
	plain := bearerPrefix + a.String() + "/"
	account := plain[len(bearerPrefix) : len(plain)-1]
	c := &cell{
		account: Account{account[:len(a.Namespace)], account[len(a.Namespace)+1:]},
		head:    base64.RawStdEncoding.EncodeToString([]byte(plain))[:sextets(len(plain))],
		era:     s.era,
	}
	c.next = s.era.cells
	if c.next != nil {
		c.next.prev = c
	}
	s.era.cells = c
	s.cells[c.account] = c
	return c
}

// releaseLocked frees a cell that holds nothing any more.
func (c *cell) releaseLocked() {
	if c.entries != nil || c.tickets != nil {
		return
	}
	c.leaveEraLocked()
	if s := c.era.store; s.cells[c.account] == c {
		delete(s.cells, c.account)
	}
}

func (c *cell) leaveEraLocked() {
	switch {
	case c.prev != nil:
		c.prev.next = c.next
	case c.era.cells == c:
		c.era.cells = c.next
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
	if !e.absent {
		c.count++
		c.era.count++
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
	if !e.absent {
		c.count--
		if !c.mark.done() { // else it is off the era's count already
			c.era.count--
		}
	}
}
