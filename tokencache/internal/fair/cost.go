package fair

import (
	"math/bits"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Costs are how long the turns of accounts take. What is not known counts as cheap.
type costs[K comparable] struct {
	classes *simplelru.LRU[K, class]
}

// A class of turns takes less than 1<<class milliseconds, and not less than half of
// that.
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
	known, _ := simplelru.NewLRU[K, class](maxCosts, nil) // fails for sizes below 1 only
	return &costs[K]{known}
}

func (c *costs[K]) of(account K) class {
	known, _ := c.classes.Peek(account)
	return known
}

// note notes that a turn of the account took so long, and returns its class from now
// on. Work takes longer on a busy machine, so a shorter time counts at once, and a
// longer one step by step.
func (c *costs[K]) note(account K, took time.Duration) class {
	now := class(min(bits.Len64(uint64(took/classUnit)), anyClass))
	known, ok := c.classes.Peek(account)
	if ok {
		now = min(now, known+1)
	}
	c.classes.Add(account, now) // cheap ones too: one slow turn must not make them expensive
	return now
}
