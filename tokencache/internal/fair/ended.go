package fair

import (
	"math"
	"time"
)

// An ended counts the turns that have ended within about the last second, and knows how
// long a turn takes.
type ended struct {
	counts [endedParts]int
	at     time.Duration // when the last one ended
	mean   time.Duration // moving average
}

const (
	endedParts = 10
	endedPart  = time.Second / endedParts
)

// note records a turn that has ended at this time, and how long it took.
func (e *ended) note(took, now time.Duration) {
	e.mean += (took - e.mean) / 8
	e.turnTo(now)
	e.counts[now/endedPart%endedParts]++
}

// turnTo forgets turns that ended more than a second before.
func (e *ended) turnTo(now time.Duration) {
	from, to := e.at/endedPart, now/endedPart
	for part := from + 1; part <= min(to, from+endedParts); part++ {
		e.counts[part%endedParts] = 0
	}
	e.at = max(e.at, now)
}

// forNext returns how long the next n turns should take: at the rate of the last second,
// or, if no turn has ended in it, at the average time of a turn.
func (e *ended) forNext(n, turns int, now time.Duration) time.Duration {
	e.turnTo(now)
	inSecond := 0
	for _, count := range e.counts {
		inSecond += count
	}
	if inSecond == 0 {
		return scale(e.mean, n, turns)
	}
	return scale(time.Second, n, inSecond)
}

// scale returns d times n by m, or the longest duration if that is longer.
func scale(d time.Duration, n, m int) time.Duration {
	product := float64(d) * float64(n) / float64(m)
	if product >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(product)
}
