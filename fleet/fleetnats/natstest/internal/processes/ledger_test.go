//go:build linux

package processes_test

import (
	"fmt"
	"sync"
	"testing"
)

// A ledger has what one token's answers are checked against. A token is either stamped,
// and evicted, or has documents, which one writer writes one after the other. It is safe
// for concurrent use by multiple goroutines.
type ledger struct {
	mu      sync.Mutex // guards the fields below
	evicted int64      // when the latest of the evictions that have returned was called
	writes  []bool     // whether there is a document after each write, the first of which is number 1
	force   int        // the last write that has returned, or was in force when the log was rolled back
	wiped   bool       // the log was made anew, and no write was called and has returned since
	losing  bool       // it is being made anew
	losses  int        // how often the log was made anew or rolled back
}

// A question is what a ledger knew when an authentication was asked for.
type question struct {
	evicted int64
	force   int
	wiped   bool
	losses  int
}

func (l *ledger) ask() question {
	l.mu.Lock()
	defer l.mu.Unlock()
	return question{l.evicted, l.force, l.wiped, l.losses}
}

// evictionReturned records that an eviction has returned, and when it was called.
func (l *ledger) evictionReturned(called int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evicted = max(l.evicted, called)
}

// write records that a document is about to be written, or deleted.
func (l *ledger) write(present bool) (number, losses int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes = append(l.writes, present)
	return len(l.writes), l.losses
}

// writeReturned records that a write is in force, unless the log has lost it since.
func (l *ledger) writeReturned(number, losses int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if losses == l.losses && !l.losing {
		l.force, l.wiped = number, false
	}
}

// rolledBack records that the log has only the writes that were in force then.
func (l *ledger) rolledBack(to question) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.force, l.wiped = to.force, to.wiped
	l.losses++
}

// beginAnew and madeAnew record the time in which the log is made anew. Afterwards it has
// nothing that was written before.
func (l *ledger) beginAnew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wiped, l.losing = true, true
	l.losses++
}

func (l *ledger) madeAnew() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wiped, l.losing = true, false
	l.losses++
}

// check returns what is wrong with an answer. If an eviction had returned before the
// question, the read behind the answer must have begun after that eviction was called.
// The document must not have been replaced or deleted before the question.
func (l *ledger) check(q question, a answer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case a.Outcome == "none":
		return nil
	case a.Read != 0 && a.Read < q.evicted:
		return fmt.Errorf("it was read %d ns before an eviction was called, which had returned", q.evicted-a.Read)
	case a.Read != 0 || q.losses != l.losses:
		return nil
	case a.Outcome == "refused" && !l.absent(q):
		return fmt.Errorf("it is refused, and write %d of %d, which had returned, put it there", q.force, len(l.writes))
	case a.Outcome == "confirmed" && (a.Version < q.force || a.Version > len(l.writes) || !l.writes[a.Version-1]):
		return fmt.Errorf("it is confirmed with document %d, and write %d of %d had returned", a.Version, q.force, len(l.writes))
	}
	return nil
}

// absent reports whether it is possible that there was no document at a time since the
// question.
func (l *ledger) absent(q question) bool {
	if q.force == 0 || q.wiped || !l.writes[q.force-1] {
		return true
	}
	for _, present := range l.writes[q.force:] {
		if !present {
			return true
		}
	}
	return false
}

func TestLedger(t *testing.T) {
	confirmed := func(version int) answer { return answer{Outcome: "confirmed", Version: version} }
	refused, none := answer{Outcome: "refused"}, answer{Outcome: "none"}
	written := func(l *ledger, present bool) {
		number, losses := l.write(present)
		l.writeReturned(number, losses)
	}
	for _, tt := range []struct {
		name          string
		before, while func(l *ledger)
		answer        answer
		wrong         bool
	}{
		{"read before an eviction that had returned", func(l *ledger) { l.evictionReturned(10) }, nil, answer{Outcome: "confirmed", Read: 9}, true},
		{"read after its call", func(l *ledger) { l.evictionReturned(10) }, nil, answer{Outcome: "confirmed", Read: 10}, false},
		{"it returned since", nil, func(l *ledger) { l.evictionReturned(10) }, answer{Outcome: "confirmed", Read: 9}, false},
		{"an earlier one returned later", func(l *ledger) { l.evictionReturned(10); l.evictionReturned(5) }, nil, answer{Outcome: "confirmed", Read: 9}, true},
		{"evicted, and the log was made anew since", func(l *ledger) { l.evictionReturned(10); l.madeAnew() }, nil, answer{Outcome: "confirmed", Read: 9}, true},
		{"the last document", func(l *ledger) { written(l, true); written(l, true) }, nil, confirmed(2), false},
		{"one that was replaced", func(l *ledger) { written(l, true); written(l, true) }, nil, confirmed(1), true},
		{"one that was revoked", func(l *ledger) { written(l, true); written(l, false) }, nil, confirmed(1), true},
		{"a deletion confirmed", func(l *ledger) { written(l, false) }, nil, confirmed(1), true},
		{"one that nobody wrote", func(l *ledger) { written(l, true) }, nil, confirmed(2), true},
		{"one that did not return", func(l *ledger) { written(l, true); l.write(true) }, nil, confirmed(2), false},
		{"the one before it", func(l *ledger) { written(l, true); l.write(true) }, nil, confirmed(1), false},
		{"replaced since", func(l *ledger) { written(l, true) }, func(l *ledger) { written(l, true) }, confirmed(1), false},
		{"refused as revoked", func(l *ledger) { written(l, true); written(l, false) }, nil, refused, false},
		{"refused though it is there", func(l *ledger) { written(l, true) }, nil, refused, true},
		{"refused as it is revoked since", func(l *ledger) { written(l, true) }, func(l *ledger) { l.write(false) }, refused, false},
		{"refused before the first", nil, nil, refused, false},
		{"refused in a new log", func(l *ledger) { written(l, true); l.madeAnew() }, nil, refused, false},
		{"refused though it is there again", func(l *ledger) { written(l, true); l.madeAnew(); written(l, true) }, nil, refused, true},
		{"refused while it is made anew", func(l *ledger) { written(l, true); l.beginAnew(); written(l, true) }, nil, refused, false},
		{"made anew since", func(l *ledger) { written(l, true) }, func(l *ledger) { l.madeAnew() }, refused, false},
		{"rolled back to it", func(l *ledger) { written(l, true); q := l.ask(); written(l, true); l.rolledBack(q) }, nil, confirmed(1), false},
		{"rolled back to the one after it", func(l *ledger) {
			written(l, true)
			written(l, true)
			q := l.ask()
			written(l, true)
			l.rolledBack(q)
		}, nil, confirmed(1), true},
		{"a write that returns after the log was made anew", func(l *ledger) {
			written(l, true)
			number, losses := l.write(true)
			l.madeAnew()
			l.writeReturned(number, losses)
		}, nil, refused, false},
		{"no answer", func(l *ledger) { written(l, true) }, nil, none, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l ledger
			if tt.before != nil {
				tt.before(&l)
			}
			q := l.ask()
			if tt.while != nil {
				tt.while(&l)
			}
			if err := l.check(q, tt.answer); (err != nil) != tt.wrong {
				t.Errorf("got %v, want wrong %v", err, tt.wrong)
			}
		})
	}
}
