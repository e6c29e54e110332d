package tokencache

// A ticket is the right to have a cache remember what a read finds out of one name. It
// is taken right before the read, and an eviction that selects the name takes it back.
//
// It is guarded by the group's mutex.
type ticket struct {
	cell *cell // nil: not taken
	name string
	void bool // taken back, for this name alone; see goodLocked

	prev, next *ticket // in the cell's list
}

// admitLocked gives out a ticket for one of the account's names.
func (s *store) admitLocked(t *ticket, id TokenID) {
	c := s.cells[id.Account]
	if c == nil {
		c = s.newCellLocked(id.Account)
	}
	t.cell, t.name, t.next = c, id.Name, c.tickets
	if t.next != nil {
		t.next.prev = t
	}
	c.tickets = t
}

// goodLocked reports whether nothing has taken the ticket back.
func (t *ticket) goodLocked() bool { return t.cell != nil && !t.void && !t.cell.dead() }

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
