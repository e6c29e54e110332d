package tokenlog

import "time"

// A limit says when there is something to tell again.
type limit struct {
	told    time.Time
	pending int // what has been counted since
}

// due counts n more, and returns how many there are to tell of, or 0.
func (l *limit) due(n int, now time.Time, every time.Duration) int {
	l.pending += n
	if !l.told.IsZero() && now.Sub(l.told) < every {
		return 0
	}
	n, l.pending, l.told = l.pending, 0, now
	return n
}

// news says whether something new may be told at once: a second outage soon after the
// first for example. What comes and goes all the time is no news: after newsBurst times
// it is told each newsEvery.
type news struct {
	limit
	left   int       // how many times more it is told at once, less newsBurst
	refill time.Time // when left was last made up for time that has passed
	what   string    // was told last; empty: nothing, or that it is over
}

const (
	newsBurst = 3
	newsEvery = 2 * time.Minute
)

// due counts one more event, and returns how many there are to tell of, or 0. What it
// is about, a reason, is new if it is not what was told last, and is told each repeat
// if it is.
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
