package tokencache

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/internal/suspend"
)

// A clock tells what has expired. Its readings are nanoseconds since it was made, by the
// monotonic clock, plus the time for which the machine was suspended: the monotonic clock
// stands still then, and a token that expires at noon has to be refused at noon.
//
// That a machine has slept shows in the wall clock and, if there is one, in the
// clock of the time since boot: they run ahead of the monotonic clock by more than
// before. A wall clock that is set ahead looks the same, and ends entries early. One
// that is set back changes nothing, and from there on the reading goes on at its pace.
//
// INVARIANT: readings never run behind the wall clock by more than they did when the
// clock was made or when the wall clock was last set back, plus clockTolerance.
//
// Reading the system's clock takes a third as long as a SHA-256 (BenchmarkClock), so
// while a group has entries a timer notes the time once a second, and a hit reads the
// system's clock only for an entry that expires within slack of that note. A note is
// late after a pause of the process; the timer, or one in hitsPerReading of a
// processor's hits, makes a new one.
type clock struct {
	base  time.Time
	noted atomic.Int64 // the last note; only entries ask for it, and there are none before the first
	slept atomic.Int64 // how far readings are ahead of the monotonic clock's
	lead  atomic.Int64 // what the wall clock showed when the monotonic one's reading was 0, as far as both go alike

	mu       sync.Mutex    // guards the fields below, and writes to slept and lead
	boot     time.Duration // how long the machine had slept at the last look
	credited int64         // what was added to slept since then
}

const (
	tick           = time.Second
	slack          = time.Minute
	hitsPerReading = 16
	never          = math.MaxInt64

	// clockTolerance is how far two clocks may drift apart, or be read apart, before
	// the machine is taken to have slept.
	clockTolerance = 20 * time.Millisecond
)

func (c *clock) start() {
	c.base = time.Now()
	c.lead.Store(c.base.UnixNano())
	c.boot = suspend.Slept()
}

// A moment is one reading: now counts what the machine slept, and pace does not.
// Entries and leases end by now. Waits end by pace, so that setting the wall clock does
// not end them.
type moment struct{ now, pace int64 }

func (c *clock) read() moment {
	t := time.Now()
	pace := int64(t.Sub(c.base))
	ahead := t.UnixNano() + int64(suspend.Ahead()) - pace
	if d := ahead - c.lead.Load(); d > int64(clockTolerance) || d < -int64(clockTolerance) {
		c.adjust()
	}
	return moment{pace + c.slept.Load(), pace}
}

// now reads the clock.
func (c *clock) now() int64 { return c.read().now }

// adjust is adjustLocked for a reading that has found the wall clock further ahead, or
// less far, than before.
func (c *clock) adjust() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.adjustLocked()
}

// adjustLocked counts what the wall clock is ahead of the monotonic one by more than
// before. It reads both anew: a reading from before another adjustment would count twice.
// It returns the time that it has read, and how far a test has set the wall clock ahead of
// that.
func (c *clock) adjustLocked() (t time.Time, set time.Duration) {
	t, set = time.Now(), suspend.Ahead()
	ahead := t.UnixNano() + int64(set) - int64(t.Sub(c.base))
	switch d := ahead - c.lead.Load(); {
	case d > int64(clockTolerance):
		c.slept.Add(d)
		c.credited += d
		c.lead.Store(ahead)
	case d < -int64(clockTolerance):
		c.lead.Store(ahead)
	}
	return t, set
}

// lookAtBoot counts what the machine has slept, unless the wall clock has told it.
func (c *clock) lookAtBoot() {
	c.mu.Lock()
	defer c.mu.Unlock()
	boot := suspend.Slept()
	for asleep := true; asleep; { // until the machine has not slept between the two clocks
		c.adjustLocked()
		again := suspend.Slept()
		asleep, boot = again-boot > clockTolerance, again
	}
	if d := int64(boot-c.boot) - c.credited; d > int64(clockTolerance) {
		c.slept.Add(d)
	}
	c.boot, c.credited = max(c.boot, boot), 0
}

// note notes the time.
func (c *clock) note() {
	c.lookAtBoot()
	c.noted.Store(c.now())
}

// noteLate notes the time if the timer is late.
func (c *clock) noteLate() {
	if now := c.now(); now > c.noted.Load()+2*int64(tick) {
		c.noted.Store(now)
	}
}

// passed reports whether a reading has come.
func (c *clock) passed(reading int64) bool {
	if reading-int64(slack) > c.noted.Load() {
		return false
	}
	return reading <= c.now()
}

// of returns the reading at a time; the zero Time: never. A time without a monotonic
// reading is compared with the wall clock as it is now. No adjustment may come between
// the two readings of now: the result would be wrong by what it counts.
func (c *clock) of(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now, set := c.adjustLocked()
	return after(int64(now.Sub(c.base))+c.slept.Load(), t.Sub(now)-set)
}

// timeOf returns the time of a reading.
func (c *clock) timeOf(reading int64) time.Time {
	return time.Now().Add(time.Duration(reading - c.now()))
}

// after returns the reading that is d after another, or never if that is too far
// off to count.
func after(reading int64, d time.Duration) int64 {
	if int64(d) > never-reading {
		return never
	}
	return reading + int64(d)
}
