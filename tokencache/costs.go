package tokencache

import (
	"math/bits"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Costs are how long the hashes of accounts take, so that cheap ones need not wait
// for dear ones: see turns. What is not known counts as cheap, until its first hash
// has been computed.
//
// All of it is guarded by the group's mutex.
type costs struct {
	classes *simplelru.LRU[Account, class] // of the accounts whose hashes are not of class 0
}

// A class of hashes takes less than 1<<class milliseconds, and not less than half
// of that.
type class int8

const (
	maxCosts  = 1 << 12
	anyClass  = classes - 1
	classes   = 16
	clearly   = 2 // a hash of a class this much higher takes more than twice as long
	noClass   = -1
	classUnit = time.Millisecond
)

func newCosts() *costs {
	known, _ := simplelru.NewLRU[Account, class](maxCosts, nil) // fails for sizes below 1 only
	return &costs{known}
}

func (c *costs) ofLocked(a Account) class {
	known, _ := c.classes.Peek(a)
	return known
}

// noteLocked notes that a hash of the account took so long, in nanoseconds, and
// returns its class from now on. Hashes take longer on a busy machine, so a shorter
// time counts at once, and a longer one step by step.
func (c *costs) noteLocked(a Account, took int64) class {
	now := class(min(bits.Len64(uint64(took/int64(classUnit))), anyClass))
	known, ok := c.classes.Peek(a)
	if ok {
		now = min(now, known+1)
	}
	switch {
	case now > 0:
		c.classes.Add(a, now)
	case ok:
		c.classes.Remove(a)
	}
	return now
}
