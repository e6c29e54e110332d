package tokencache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/svctoken/svctoken/tokencache/internal/fair"
)

// A store is a cache without its record type: what Cache[R] wraps. It loads what its
// shelf does not have.
//
// The first fields are immutable after New. The last are guarded by the memory's mutex.
type store struct {
	shelf *shelf
	work  *work

	lookup      func(context.Context, TokenID) (Answer[any], error)
	holder      Holder // nil if the source is not a Holder
	cancel      func() // ends the subscription
	loadTimeout time.Duration
	staleWait   time.Duration // how long a caller waits for the source if it could have a stale answer
	errTimeout  error

	running tally // goroutines
	dummies dummies

	loads   register
	slots   *queue
	strays  strays
	backoff backoff
}

func newStore(w *work, name string, cfg Config) *store {
	strayLimit := max(cfg.MaxLoads, minStrays)
	s := &store{
		shelf: newShelf(w.memory, name, cfg), work: w,
		loadTimeout: cfg.LoadTimeout, staleWait: cfg.StaleWait,
		errTimeout: fmt.Errorf("its source, or the hash, took longer than %v", cfg.LoadTimeout),
		strays:     strays{Count: fair.Count[Account]{Limit: strayLimit, PerAccount: shareOf(strayLimit)}},
		backoff:    backoff{longest: cfg.MaxBackoff},
	}
	s.slots = fair.New[Account, *load](fair.Limits[Account]{
		Turns: cfg.MaxLoads, PerAccount: shareOf(cfg.MaxLoads), Waiters: w.maxQueue, Blocked: &s.strays.Count,
	})
	return s
}

// A register has the loads that are not settled, which callers may join. Its keys have
// the secret beside the name: with the name alone, anybody who knows it could keep loads
// of wrong secrets running, and callers with the right one would wait for them.
type register struct {
	of   map[tokenKey]*load
	peak int // the most that there were at once
}

// getLocked returns the load of a token; nil: there is none.
func (r *register) getLocked(key tokenKey, id TokenID) *load {
	if l := r.of[key]; l != nil && l.label.id == id {
		return l
	}
	return nil
}

// putLocked registers a load. From then on nobody joins an earlier one of the same key.
func (r *register) putLocked(key tokenKey, l *load) {
	if r.of == nil {
		r.of = make(map[tokenKey]*load)
	}
	r.of[key] = l
	r.peak = max(r.peak, len(r.of))
}

// removeLocked removes a load that is settled. A map keeps the size of its largest flood,
// so a map that was large is dropped.
func (r *register) removeLocked(key tokenKey, l *load) {
	if r.of[key] != l {
		return
	}
	delete(r.of, key)
	if len(r.of) == 0 && r.peak > smallFlood {
		*r = register{}
	}
}

// Abandoned are the loads that run on after they were settled, as they took too long or
// their cache was closed. They are bounded, as each is a goroutine.
type strays struct {
	fair.Count[Account]
	loads map[*load]struct{}
}

func (s *strays) beginLocked(l *load) {
	if s.loads == nil {
		s.loads = make(map[*load]struct{})
	}
	s.loads[l] = struct{}{}
	s.Add(l.label.id.Account)
}

func (s *strays) endLocked(l *load) {
	delete(s.loads, l)
	s.Remove(l.label.id.Account)
}

// endContextsLocked ends the contexts of all strays at once.
func (s *strays) endContextsLocked() {
	for l := range s.loads {
		l.context.cancelLocked()
	}
}

// noteLocked notes whether the source has answered a load. A load that took too long
// begins no pause: it was slow anyway, and may be the fault of its account alone.
func (s *store) noteLocked(l *load, err *NoAnswerError, pace int64) {
	id := l.label.id
	switch {
	case err == nil:
		s.backoff.answeredLocked(id)
	case err.Reason != ReasonSourceTimeout:
		s.backoff.failedLocked(l, id, err.Err, pace)
	}
}

// stopLoadsLocked settles all loads of the store, those that wait first, so that they do
// not get the slots and turns that the others give back.
func (s *store) stopLoadsLocked() (ended []*load) {
	for _, waits := range []bool{true, false} {
		for _, l := range s.work.deadlines.ofLocked(s) {
			if waits != (l.phase == queued || l.phase == turning) {
				continue
			}
			err := s.noAnswer(l.label.id, ReasonClosed, nil)
			l.stopLocked(&outcome{reason: err.Reason, err: err})
			ended = append(ended, l)
		}
	}
	s.strays.endContextsLocked()
	return ended
}

// unavailableLocked returns why the store begins no load of the token at present,
// or nil.
func (s *store) unavailableLocked(id TokenID, pace int64) *NoAnswerError {
	if s.strays.FullFor(id.Account) {
		return s.noAnswer(id, ReasonUnavailable, errStrays)
	}
	if streak, wait := s.backoff.pausedLocked(id, pace); streak != nil {
		err := s.noAnswer(id, ReasonUnavailable, pausedError{streak.last})
		err.RetryAfter = wait
		return err
	}
	return nil
}

var errStrays = errors.New("too many loads hang in its source")

// A pausedError says that a source was not asked, and why.
type pausedError struct{ last error }

func (e pausedError) Error() string {
	return "its source keeps failing, and is left alone for a moment: " + e.last.Error()
}

func (e pausedError) Unwrap() error { return e.last }

func (s *store) noAnswer(id TokenID, reason Reason, err error) *NoAnswerError {
	return &NoAnswerError{Cache: s.shelf.name, Token: id, Reason: reason, Err: err}
}
