package fair

import (
	"math/bits"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A costs remembers how long the turns of accounts take. An account that it does not know
// counts as cheap.
type costs[K comparable] struct {
	classes *simplelru.LRU[K, *class]
}

// A turn of a class takes less than 1<<class milliseconds, and at least half of that.
type class int8

const (
	maxCosts  = 1 << 12
	anyClass  = classes - 1
	classes   = 16
	clearly   = 2 // a turn of a class this much higher takes more than twice as long
	noClass   = -1
	classUnit = time.Millisecond
)

func newCosts[K comparable]() *costs[K] {
	known, _ := simplelru.NewLRU[K, *class](maxCosts, nil) // fails only for sizes below 1
	return &costs[K]{known}
}

// of returns the account's class; nil: it is not known.
func (c *costs[K]) of(account K) *class {
	known, _ := c.classes.Get(account)
	return known
}

// note records how long a turn of the account took, and changes the account's class. Work
// takes longer on a busy machine, so a shorter time counts at once, and a longer one step
// by step.
func (c *costs[K]) note(account K, known *class, took time.Duration) *class {
	now := class(min(bits.Len64(uint64(took/classUnit)), anyClass))
	if known == nil { // cheap accounts are kept too: one slow turn must not make them expensive
		known = new(class)
		c.classes.Add(account, known)
	} else {
		now = min(now, *known+1)
	}
	*known = now
	return known
}
