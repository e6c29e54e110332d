package tokencache

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// A backoff makes a cache pause, for a moment, reads that keep failing: a source that
// fails fast would otherwise be asked as fast as callers come. It pauses only what has
// failed: one name; an account, when several of its names have failed in a row; the
// source, when several accounts have. So a row that cannot be read pauses no other row. A
// source that serves one account is paused as that account.
//
// Once a pause is over, one load at a time goes through, until a success ends the pauses
// of its name, account and source, or a failure begins a longer one. During a pause of an
// account, or of the source, names, or accounts, that have not failed themselves may try,
// too: one at a time, and at most one in a tenth of a second.
//
// All of it is guarded by the memory's mutex.
type backoff struct {
	longest  time.Duration // the longest pause; 0: never pause
	source   streak
	accounts *simplelru.LRU[Account, *streak]
	names    *simplelru.LRU[TokenID, *streak]
}

// A streak is failures in a row.
type streak struct {
	failures int
	first    TokenID // which failed first
	several  bool    // something else has failed since
	until    int64   // reading of the clock's pace: when the pause ends
	probe    int64   // the same: when a name or an account that has not failed may try during it
	trial    *load   // the one load that may try; nil: none does
	last     error
}

const (
	failuresBeforePause = 5
	firstPause          = 10 * time.Millisecond
	probeEach           = 100 * time.Millisecond

	// maxStreaks is how many names, and how many accounts, have their failures counted.
	maxStreaks = 1 << 12
)

// levels returns the streaks of the name, its account and the source, in this order; nil
// if there is none.
func (b *backoff) levels(id TokenID) (levels [3]*streak) {
	if b.names == nil {
		return levels
	}
	levels[0], _ = b.names.Peek(id)
	levels[1], _ = b.accounts.Peek(id.Account)
	levels[2] = &b.source
	return levels
}

// pausedLocked returns the streak that pauses a load of this name, and for how long; nil:
// none does.
func (b *backoff) pausedLocked(id TokenID, pace int64) (*streak, time.Duration) {
	if b.names == nil {
		return nil, 0 // nothing has failed
	}
	innocent := false // whether the narrower level has not failed
	for _, s := range b.levels(id) {
		if s != nil && !s.mayTry(innocent, pace) {
			return s, time.Duration(max(s.until-pace, int64(firstPause)))
		}
		innocent = s == nil
	}
	return nil, 0
}

// mayTry reports whether another load may begin.
func (s *streak) mayTry(innocent bool, pace int64) bool {
	switch {
	case s.until == 0:
		return true
	case s.trial != nil:
		return false
	case pace >= s.until:
		return true
	default:
		return innocent && pace >= s.probe
	}
}

// beginLocked notes the beginning of a load that pausedLocked has let through.
func (b *backoff) beginLocked(l *load, id TokenID) {
	for _, s := range b.levels(id) {
		if s != nil && s.until != 0 {
			s.trial = l
		}
	}
}

// endLocked notes that a load has ended without an answer of its source that counts.
func (b *backoff) endLocked(l *load, id TokenID) (tried [3]bool) {
	for i, s := range b.levels(id) {
		if s != nil && s.trial == l {
			s.trial, tried[i] = nil, true
		}
	}
	return tried
}

// answeredLocked notes that the source has answered a load.
func (b *backoff) answeredLocked(id TokenID) {
	b.source = streak{}
	if b.names != nil {
		b.names.Remove(id)
		b.accounts.Remove(id.Account)
	}
}

// resetLocked forgets all failures: the source has changed, so it works, or is another
// one.
func (b *backoff) resetLocked() { *b = backoff{longest: b.longest} }

// failedLocked notes that a load has failed. Failures during a pause, of loads from
// before it, do not lengthen it.
func (b *backoff) failedLocked(l *load, id TokenID, err error, pace int64) {
	tried := b.endLocked(l, id)
	if b.longest <= 0 {
		return
	}
	if b.names == nil {
		b.names, _ = simplelru.NewLRU[TokenID, *streak](maxStreaks, nil) // fails for sizes below 1 only
		b.accounts, _ = simplelru.NewLRU[Account, *streak](maxStreaks, nil)
	}
	name, account := streakOf(b.names, id), streakOf(b.accounts, id.Account)
	name.several, name.first = true, id // one name is all there is
	name.noteLocked(id, err, b.longest, tried[0], pace)
	account.several = account.several || account.failures > 0 && account.first != id
	account.noteLocked(id, err, b.longest, tried[1], pace)
	b.source.several = b.source.several || b.source.failures > 0 && b.source.first.Account != id.Account
	b.source.noteLocked(id, err, b.longest, tried[2], pace)
}

func streakOf[K comparable](streaks *simplelru.LRU[K, *streak], key K) *streak {
	s, ok := streaks.Get(key)
	if !ok {
		s = new(streak)
		streaks.Add(key, s)
	}
	return s
}

func (s *streak) noteLocked(id TokenID, err error, longest time.Duration, tried bool, pace int64) {
	if pace < s.until && !tried {
		return
	}
	if s.failures == 0 {
		s.first = id
	}
	s.failures++
	s.last = err
	if s.several && s.failures >= failuresBeforePause {
		pause := min(firstPause<<min(s.failures-failuresBeforePause, 16), longest)
		s.until = after(pace, pause)
		s.probe = after(pace, min(pause, probeEach))
	}
}
