package tokenlog

import "time"

// A limit says when to log again.
type limit struct {
	told    time.Time
	pending int // events counted since the last line
}

// due counts n more events, and returns how many to log now, or 0.
func (l *limit) due(n int, now time.Time, every time.Duration) int {
	l.pending += n
	if !l.told.IsZero() && now.Sub(l.told) < every {
		return 0
	}
	n, l.pending, l.told = l.pending, 0, now
	return n
}

// A news says whether a change may be logged at once, a second outage soon after the
// first for example. A change that recurs all the time is logged newsBurst times, and
// then once in newsEvery.
type news struct {
	limit
	left   int       // how often a change may still be logged at once, less newsBurst
	refill time.Time // when left was last raised for the time that has passed
	what   string    // was logged last; empty: nothing, or that it is over
}

const (
	newsBurst = 3
	newsEvery = 2 * time.Minute
)

// due counts one more event, and returns how many to log now, or 0. What, a reason, is
// news if it differs from what was logged last; otherwise it is logged once in repeat.
func (n *news) due(what string, now time.Time) int {
	if what == n.what {
		return n.limit.due(1, now, repeat)
	}
	if passed := int(now.Sub(n.refill) / newsEvery); n.refill.IsZero() || passed >= newsBurst {
		n.left, n.refill = newsBurst, now
	} else {
		n.left, n.refill = min(newsBurst, n.left+passed), n.refill.Add(time.Duration(passed)*newsEvery)
	}
	if n.left == 0 {
		n.pending++
		return 0
	}
	n.left--
	n.what = what
	return n.limit.due(1, now, 0)
}
