package tokencache

// A ticket is the right to publish the result of one read of a name. A load takes it
// right before the read. An eviction that selects the name takes it back, and so does a
// later read that publishes a result for the name: the later read wins.
//
// It is guarded by the memory's mutex.
type ticket struct {
	cell  *cell // nil: not taken
	name  string
	began int64 // clock reading: when it was taken
	dies  int64 // clock reading: when the result expires; set after the read
	void  bool  // taken back, for this name alone; see goodLocked

	prev, next *ticket // in the cell's list; next was taken before
}

// admitLocked gives out a ticket for one of the account's names.
func (s *shelf) admitLocked(t *ticket, id TokenID, now int64) {
	c := s.cells[id.Account]
	if c == nil {
		c = s.newCellLocked(id.Account)
	}
	*t = ticket{cell: c, name: id.Name, began: now, dies: never, next: c.tickets}
	if t.next != nil {
		t.next.prev = t
	}
	c.tickets = t
}

// goodLocked reports whether nothing has taken the ticket back.
func (t *ticket) goodLocked() bool { return t.cell != nil && !t.void && !t.cell.dead() }

// supersedeLocked takes back the tickets of earlier reads of the name.
func (t *ticket) supersedeLocked() {
	for earlier := t.next; earlier != nil; earlier = earlier.next {
		earlier.void = earlier.void || earlier.name == t.name
	}
}

// returnLocked ends the ticket.
func (t *ticket) returnLocked() {
	c := t.cell
	if c == nil {
		return
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		c.tickets = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	*t = ticket{}
	c.releaseLocked()
}
