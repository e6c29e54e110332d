package fair

// A Count counts things, in total and by account, and compares both numbers with limits.
type Count[K comparable] struct {
	Limit, PerAccount int

	all int
	of  map[K]int
}

// Add adds one for the account.
func (c *Count[K]) Add(account K) {
	if c.of == nil {
		c.of = make(map[K]int)
	}
	c.all++
	c.of[account]++
}

// Remove removes one for the account.
func (c *Count[K]) Remove(account K) {
	c.all--
	if c.of[account]--; c.of[account] == 0 {
		delete(c.of, account)
	}
}

// All returns the total.
func (c *Count[K]) All() int { return c.all }

// Accounts returns how many accounts have at least one.
func (c *Count[K]) Accounts() int { return len(c.of) }

// Full reports whether the total has reached its limit.
func (c *Count[K]) Full() bool { return c.all >= c.Limit }

// FullFor reports whether the total or the account's number has reached its limit.
func (c *Count[K]) FullFor(account K) bool { return c.Full() || c.of[account] >= c.PerAccount }
