package fair

// A Count is how many things there are, in all and by account, against a limit for
// both.
type Count[K comparable] struct {
	Limit, PerAccount int

	all int
	of  map[K]int
}

// Add counts one of the account's.
func (c *Count[K]) Add(account K) {
	if c.of == nil {
		c.of = make(map[K]int)
	}
	c.all++
	c.of[account]++
}

// Remove takes it back.
func (c *Count[K]) Remove(account K) {
	c.all--
	if c.of[account]--; c.of[account] == 0 {
		delete(c.of, account)
	}
}

// All returns how many there are.
func (c *Count[K]) All() int { return c.all }

// Accounts returns how many accounts have any.
func (c *Count[K]) Accounts() int { return len(c.of) }

// Full reports whether the limit is reached.
func (c *Count[K]) Full() bool { return c.all >= c.Limit }

// FullFor reports whether it is, or the account's.
func (c *Count[K]) FullFor(account K) bool { return c.Full() || c.of[account] >= c.PerAccount }
