package lincheck

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// crowd is an account whose tokens are in no history.
var crowd = tokencache.Account{Namespace: "elastic", Service: "crowd"}

// noise loads tokens of the crowd and evicts them, without a pause, until the function
// that it returns is called. So the table grows, and everything that needs the group's
// mutex has to wait.
func (w *world) noise() (stop func()) {
	const each = 200 // tokens: three times what the table begins with
	var stopped atomic.Bool
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			for n := 0; !stopped.Load(); n++ {
				token, err := tokencache.NewToken(crowd.TokenID(fmt.Sprintf("crowd%d-%d", i, n%each)), secretOf(0, 0))
				if err != nil {
					panic(err) // the name is valid
				}
				w.caches[i].authenticate(context.Background(), token)
				if n%each == each-1 {
					w.caches[i].evict(selectAll(crowd))
				}
			}
		})
	}
	return func() { stopped.Store(true); wg.Wait() }
}

// lease ends the group's lease, or renews it for longer than any history takes.
func (w *world) lease(client int, lapse bool) {
	until := time.Now().Add(time.Hour)
	if lapse {
		until = time.Now().Add(-time.Second)
	}
	from := w.clock.Add(1)
	w.group.Lease(until)
	w.record(client, from, input{kind: lease, lapsed: lapse}, output{})
}

// noAnswer counts a call that had no answer. A reason that the profile does not allow
// fails the history: otherwise a group that never answers would pass.
func (w *world) noAnswer(err error) {
	reason := tokencache.Reason(0)
	if e, ok := errors.AsType[*tokencache.NoAnswerError](err); ok {
		reason = e.Reason
	}
	allowed := reason == tokencache.ReasonGaveUp || reason == tokencache.ReasonClosed || slices.Contains(w.profile.allows, reason)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !allowed {
		w.failure = fmt.Errorf("no answer, for a reason that is not allowed: %w", err)
	}
	if w.unanswered == nil {
		w.unanswered = make(map[tokencache.Reason]int)
	}
	w.unanswered[reason]++
}
