package tokencache

import (
	"math"
	"sync/atomic"
	"time"
)

// A clock tells hits whether a moment has passed. Reading the system's clock takes
// a third as long as a SHA-256 (BenchmarkClock), so while a group has entries a
// timer notes the time once a second, and a hit reads the system's clock only for
// an entry that expires within slack of that note.
//
// A note is late where the process was paused, by SIGSTOP or with its machine. An
// entry is then taken for good past its time only if it had more than slack left
// at the pause; and only until the timer fires, or the first of the hits that read
// the clock all the same, one in hitsPerReading of those on a processor.
//
// Readings are nanoseconds since epoch, monotonic.
type clock struct {
	epoch time.Time
	noted atomic.Int64 // the last note; only entries ask for it, and there are none before the first
}

const (
	tick           = time.Second
	slack          = time.Minute
	hitsPerReading = 16
	never          = math.MaxInt64
)

// now reads the system's clock.
func (c *clock) now() int64 { return int64(time.Since(c.epoch)) }

// note notes the time.
func (c *clock) note() { c.noted.Store(c.now()) }

// noteLate notes the time if the timer is late.
func (c *clock) noteLate() {
	if now := c.now(); now > c.noted.Load()+2*int64(tick) {
		c.noted.Store(now)
	}
}

// passed reports whether a moment has come.
func (c *clock) passed(moment int64) bool {
	if moment-int64(slack) > c.noted.Load() {
		return false
	}
	return moment <= c.now()
}

// after returns the moment that is d after another, or never where that is too
// far off to count.
func after(moment int64, d time.Duration) int64 {
	if int64(d) > never-moment {
		return never
	}
	return moment + int64(d)
}

// startClockLocked has the time noted from now on.
func (g *Group) startClockLocked() {
	if g.ticking == nil {
		g.clock.note()
		g.ticking = time.AfterFunc(tick, g.tick)
	}
}

// tick notes the time, as long as a cache holds anything. It also looks through a
// part of the table for what has expired, so that this comes to an end, and tells
// the observer what was displaced.
func (g *Group) tick() {
	g.clock.note()
	g.sweep()
	g.mu.Lock()
	if g.ticking != nil && !g.stopClockLocked() {
		g.ticking.Reset(tick)
	}
	events := g.displacedLocked()
	g.telling.add()
	g.mu.Unlock()
	defer g.telling.done()
	g.tell(events)
}

// stopClockLocked stops the notes if no cache holds anything, and reports whether
// it did.
func (g *Group) stopClockLocked() bool {
	if g.linked > 0 {
		return false
	}
	if g.ticking != nil {
		g.ticking.Stop()
		g.ticking = nil
	}
	g.shrinkLocked()
	return true
}

// A sweep looks at a 64th of the buckets, and at sweepStep of them at least, in
// steps between which others can have the mutex.
const (
	sweepPart = 64
	sweepStep = 1024
)

func (g *Group) sweep() {
	for left := len(g.table.Load().buckets) / sweepPart; ; left -= sweepStep {
		g.mu.Lock()
		g.sweepLocked(sweepStep)
		g.mu.Unlock()
		if left <= sweepStep {
			return
		}
	}
}

// sweepLocked removes what has expired from the next buckets.
func (g *Group) sweepLocked(buckets int) {
	t := g.table.Load()
	if t.old != nil {
		if t.moveLocked(buckets) {
			g.table.Store(&table{buckets: t.buckets})
		}
		return
	}
	now := g.clock.now()
	for range min(buckets, len(t.buckets)) {
		g.swept = (g.swept + 1) & (len(t.buckets) - 1)
		for e := t.buckets[g.swept].Load(); e != nil; e = e.next.Load() {
			if e.expiredLocked(now) {
				g.expireLocked(e)
			}
		}
	}
}
