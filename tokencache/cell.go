package tokencache

import "encoding/base64"

// A cell is what one cache holds of one account: its entries and its loads in
// flight. An eviction visits the cells of its accounts and nothing else, which is
// why it costs what the account holds. A cell exists while it holds something.
//
// The strings are immutable; entries and flights are guarded by the group's mutex.
type cell struct {
	account Account

	// A bearer of the account begins with head, the base64 of all whole groups of
	// three bytes before the token's name; rest is what comes between it and that
	// name, up to two bytes.
	head, rest string

	// The above is a cache line, and all that a hit reads.
	prefix string // "namespace/service/", whose memory account shares

	entries *entry // doubly linked through prev and succ
	flights map[flightKey]*flight

	_ [32]byte // so that the allocator begins each cell on a line of its own
}

func newCell(a Account) *cell {
	prefix := a.String() + "/"
	n := len(a.Namespace)
	plain := bearerPrefix + prefix
	whole := len(plain) / 3 * 3
	return &cell{
		account: Account{prefix[:n], prefix[n+1 : len(prefix)-1]},
		prefix:  prefix,
		head:    base64.StdEncoding.EncodeToString([]byte(plain[:whole])),
		rest:    plain[whole:],
	}
}

func (c *cell) linkLocked(e *entry) {
	e.succ = c.entries
	if e.succ != nil {
		e.succ.prev = e
	}
	c.entries = e
}

func (c *cell) unlinkLocked(e *entry) {
	if e.prev != nil {
		e.prev.succ = e.succ
	} else {
		c.entries = e.succ
	}
	if e.succ != nil {
		e.succ.prev = e.prev
	}
	e.prev, e.succ = nil, nil
}

func (c *cell) emptyLocked() bool { return c.entries == nil && len(c.flights) == 0 }
