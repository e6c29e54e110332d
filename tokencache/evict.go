package tokencache

import "slices"

// This file is what happens when something is evicted, from the call to the report,
// and why it happens at one instant.
//
// # Promise
//
// Once an eviction has returned, no authentication that starts afterwards gets a
// verdict which derives from a source read that began before the eviction was
// called. If anybody has seen an eviction's effect in one cache, nobody who looks
// afterwards sees the state before it in another.
//
// # Why it holds
//
// Everything that changes a memory happens under one mutex, mu: to give out a ticket,
// to publish a load's result, to unlink an entry, to mark and evict. It is never held
// during a source read, a password hash, a wait, or a call into foreign code. What
// remains to be shown is that hits, which take no lock, fit in between.
//
//   - INVARIANT 1 (loads). A load takes a ticket under mu before it reads the source,
//     and its result is published under mu only while the ticket is good.
//   - INVARIANT 2 (joins). A caller joins only a load that has not begun to read, or
//     whose ticket is good, under mu.
//   - INVARIANT 3 (marks). An eviction first puts itself, not done, into the mark of
//     every cell and epoch that it selects; entries that it selects by name get a
//     marked copy of their cell as their owner. Then it sets done. All of it
//     happens in one section under mu, so that nothing carries two marks. A ticket
//     is good as long as its cell is not evicted, and no eviction that selects its
//     name has taken it back. Entries are unlinked afterwards.
//   - INVARIANT 4 (the unlinked are dead). An entry that is unlinked for another
//     reason (displaced, replaced, expired) gets a dead owner, under mu.
//   - INVARIANT 5 (hits). The last thing that a hit does is to load the entry's
//     owner, its mark and its epoch's mark, and done of what it finds there. If one
//     is done, the hit is a miss.
//
// The instant of an eviction is the store to done: one store to one word, whatever
// the number of names and caches. The instant of a hit is its last load of the
// owner. An eviction whose instant came before had set its marks before, by 3, so
// the hit finds one of them done, by 5; or the entry had been unlinked before, by
// 4, and the hit finds a dead owner. So each hit that confirms came before each
// eviction that selects its entry. A verdict that did not come from an entry came
// from a load. By 1 and 2, one that began before the eviction took mu is neither
// published nor joined once the eviction has released it. That is freshness, and
// with the single store it is atomicity: order the operations by their instants (a
// load: the source's own) and the order explains every result. internal/harness/lincheck
// checks the same, in the same words, with random histories; schedule_test.go walks
// through the windows one by one.
//
// A remembered refusal is an entry like others, and all of this holds for it.
//
// # What it costs
//
// The mutex is held for as long as it takes to mark: one word for all of a cache,
// one for all of an account, a tenth of a microsecond for each name. Entries are
// unlinked and counted afterwards by the caller of the eviction, unlinkStep of them
// at a time, the first of them in the section that has marked them; others have the
// mutex in between: see mutex.
//
// # Rejected
//
// A generation for each account, taken before the read and compared before the
// publication: it needs a rule for how long to remember generations, which is where
// real caches went wrong, and it makes a list of names in two caches more than one
// word. A sequence lock for each account: its readers have to wait for an eviction,
// and it does not cover two accounts, or a whole cache, at one instant. A map that
// is replaced as a whole: its cost grows with the account.

const unlinkStep = 64

// A selection is what an eviction selects, by account: each account once.
type selection struct {
	everything bool
	selectors  []Selector
}

// selectionOf merges selectors of one account, so that marking takes time in proportion
// to the names and to the tickets, not to their product.
func selectionOf(sels []Selector) selection {
	if len(sels) < 2 {
		return selection{selectors: sels}
	}
	at := make(map[Account]int, len(sels))
	var merged []Selector
	for _, sel := range sels {
		i, ok := at[sel.account]
		switch {
		case !ok:
			at[sel.account] = len(merged)
			sel.names = slices.Clone(sel.names)
			merged = append(merged, sel)
		case merged[i].all:
		case sel.all:
			merged[i] = sel
		default:
			merged[i].names = append(merged[i].names, sel.names...)
		}
	}
	for i := range merged {
		slices.Sort(merged[i].names)
		merged[i].names = slices.Compact(merged[i].names)
	}
	return selection{selectors: merged}
}

// forget evicts what is selected from the shelves, at one instant, and returns how many
// live entries went from each, by name. Under the mutex it calls also first, if that is
// not nil.
func (m *memory) forget(why Cause, shelves []*shelf, sel selection, also func()) map[string]int {
	m.mu.Lock()
	if also != nil {
		also()
	}
	ev := m.markLocked(shelves, sel)
	m.happenLocked(ev, why, shelves, sel)
	m.discountMarkedLocked(ev)
	for m.unlinkMarkedLocked(ev) {
		m.mu.giveWay()
		m.mu.Lock()
	}
	m.mu.Unlock()

	evicted := make(map[string]int, len(shelves))
	for i, s := range shelves {
		evicted[s.name] = ev.gone[i]
	}
	return evicted
}

// markLocked marks everything that is selected.
func (m *memory) markLocked(shelves []*shelf, sel selection) *eviction {
	ev := &eviction{at: m.clock.now(), shelves: shelves, gone: make([]int, len(shelves))}
	for _, s := range shelves {
		if sel.everything {
			s.markAllLocked(ev)
		}
		for _, one := range sel.selectors {
			s.markLocked(ev, one)
		}
	}
	return ev
}

// happenLocked is the instant of an eviction. A change of a source is counted after
// it: a caller that refuses a token from memory, and finds the same count before and
// after, must not have seen the effect of a change that is counted
// (TestMoveWhileRefusedFromMemory).
func (m *memory) happenLocked(ev *eviction, why Cause, shelves []*shelf, sel selection) {
	ev.done.Store(true)
	if why == CauseAsked {
		return
	}
	change := m.changes.Add(1)
	for _, s := range shelves {
		s.noteChangeLocked(sel, change)
	}
}

// markLocked marks what a selector selects in the shelf, and takes back the tickets.
func (s *shelf) markLocked(ev *eviction, sel Selector) {
	c := s.cells[sel.account]
	switch {
	case c == nil:
	case sel.all:
		c.mark.by.Store(ev)
		ev.cells = append(ev.cells, c)
		delete(s.cells, c.account) // whatever comes now begins another cell
	default:
		s.markNamesLocked(ev, c, sel)
	}
}

func (s *shelf) markNamesLocked(ev *eviction, c *cell, sel Selector) {
	for t := c.tickets; t != nil; t = t.next {
		t.void = t.void || sel.Selects(TokenID{sel.account, t.name})
	}
	var owner *cell
	for _, name := range sel.names {
		id := TokenID{sel.account, name}
		for e := range s.ofLocked(s.memory.keys.hashID(id), id) {
			if owner == nil {
				owner = c.marked(ev)
			}
			e.owner.Store(owner)
			ev.names = append(ev.names, e)
		}
	}
}

// markAllLocked marks all of the shelf.
func (s *shelf) markAllLocked(ev *eviction) {
	s.epoch.mark.by.Store(ev)
	ev.epochs = append(ev.epochs, s.epoch)
	s.beginEpochLocked()
}

// beginEpochLocked empties the shelf.
func (s *shelf) beginEpochLocked() {
	s.epoch = &epoch{shelf: s}
	s.cells = make(map[Account]*cell)
}

// discountMarkedLocked takes what was evicted off the counts.
func (m *memory) discountMarkedLocked(ev *eviction) {
	for _, c := range ev.cells {
		c.epoch.count -= c.count
	}
}

// unlinkMarkedLocked unlinks some of what was evicted, and reports whether there is
// more. Another eviction may have unlinked some of it, or a displacement.
func (m *memory) unlinkMarkedLocked(ev *eviction) (more bool) {
	for range unlinkStep {
		e := ev.nextLocked()
		if e == nil {
			m.stopClockLocked()
			return false
		}
		s := e.owner.Load().epoch.shelf
		if !e.refuses() {
			m.hints.addLocked(e.key(), ev.at)
		}
		s.unlinkLocked(e)
	}
	return true
}

// nextLocked returns an evicted entry that is still linked, or nil.
func (ev *eviction) nextLocked() *entry {
	for n := len(ev.names); n > 0; n = len(ev.names) {
		e := ev.names[n-1]
		ev.names = ev.names[:n-1]
		if e.owner.Load() != gone {
			return e
		}
	}
	for n := len(ev.cells); n > 0; n = len(ev.cells) {
		if e := ev.cells[n-1].entries; e != nil {
			return e
		}
		ev.cells = ev.cells[:n-1]
	}
	for n := len(ev.epochs); n > 0; n = len(ev.epochs) {
		c := ev.epochs[n-1].cells
		switch {
		case c == nil:
			ev.epochs = ev.epochs[:n-1]
		case c.entries != nil:
			return c.entries
		default:
			c.leaveEpochLocked() // nothing but tickets is left of it
		}
	}
	return nil
}
