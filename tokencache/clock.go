package tokencache

import (
	"math"
	"sync/atomic"
	"time"
)

// A clock tells hits whether a moment has passed. Reading the system's clock takes
// a quarter as long as a SHA-256 (BenchmarkClock), so while a group has entries a
// timer notes the time once a second, and a hit reads the system's clock only for
// an entry that is about to expire, by that note. A note could mislead only in a
// process whose timers are late by more than slack less tick.
//
// Readings are nanoseconds since epoch, monotonic.
type clock struct {
	epoch time.Time
	noted atomic.Int64 // the last note; never, which is later than any moment, while nothing is noted
}

const (
	tick  = time.Second
	slack = 5 * time.Second
	never = math.MaxInt64
)

// now reads the system's clock.
func (c *clock) now() int64 { return int64(time.Since(c.epoch)) }

// passed reports whether a moment has come.
func (c *clock) passed(moment int64) bool {
	if moment-int64(slack) > c.noted.Load() {
		return false
	}
	return moment <= c.now()
}

// startClockLocked has the time noted from now on.
func (g *Group) startClockLocked() {
	if g.ticking == nil {
		g.clock.noted.Store(g.clock.now())
		g.ticking = time.AfterFunc(tick, g.tick)
	}
}

// tick notes the time, until no cache holds anything. It also removes what has
// expired at the end of the replacement order, so that this comes to pass.
func (g *Group) tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ticking == nil {
		return // stopped meanwhile
	}
	g.clock.noted.Store(g.clock.now())
	for _, s := range *g.stores.Load() {
		s.removeExpiredLocked()
	}
	if !g.stopClockLocked() {
		g.ticking.Reset(tick)
	}
}

// stopClockLocked stops the notes if no cache holds anything, and reports whether
// it did.
func (g *Group) stopClockLocked() bool {
	for _, s := range *g.stores.Load() {
		if s.lru.Len() > 0 {
			return false
		}
	}
	if g.ticking != nil {
		g.ticking.Stop()
		g.ticking = nil
		g.clock.noted.Store(never)
	}
	return true
}
