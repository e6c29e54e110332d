package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestWhatEndsAPause: after five failures the source is left alone; a change that it
// tells of ends that, and what somebody asks for does not.
func TestWhatEndsAPause(t *testing.T) {
	for _, test := range []struct {
		cause tokencache.Cause
		want  string
	}{
		{tokencache.CauseAsked, "error"},
		{tokencache.CauseNode, "error"},
		{tokencache.CauseSource, "ok"},
		{tokencache.CauseState, "ok"},
	} {
		t.Run(test.cause.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
				src := newTestSource(token)
				c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
				src.fail()
				for range 5 {
					check(t, c, token, "error")
				}
				src.before = nil
				check(t, c, token, "error") // it is left alone
				c.Evict(t.Context(), test.cause, named(t, fleet, "another"))
				check(t, c, token, test.want)
			})
		})
	}
}

// TestFailuresInARow: an answer in between, a refusal too, has the count begin anew.
func TestFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{AbsentTTL: -1})
		try := func() tokencache.Reason {
			_, err := c.AuthenticateToken(t.Context(), mustToken(t, "a/a/a", "supersecret"))
			return reasonOf(err)
		}
		for range 3 {
			src.fail()
			for i := range 4 {
				if got := try(); got != tokencache.ReasonSourceFailed {
					t.Errorf("failure %d: got %v", i, got)
				}
			}
			src.before = nil
			if got := try(); got != tokencache.ReasonUnknownToken {
				t.Errorf("an answer: got %v", got)
			}
		}
	})
}

// TestFailuresFromBeforeAPause: of ten loads that fail at one instant the fifth begins
// a pause, and the others do not lengthen it.
func TestFailuresFromBeforeAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, gate := newTestSource(), newGate()
		src.before = func(ctx context.Context, id tokencache.TokenID) error {
			gate.pass(ctx, id)
			return errOutage
		}
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
		var results []<-chan result
		for i := range 10 {
			results = append(results, begin(t, c, fmt.Sprintf("a/a%d/a", i), "supersecret"))
		}
		close(gate.open)
		for _, ch := range results {
			expect(t, ch, errOutage)
		}
		_, err := c.AuthenticateToken(t.Context(), mustToken(t, "a/a/a", "supersecret"))
		noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err)
		if !ok || noAnswer.Reason != tokencache.ReasonUnavailable || noAnswer.RetryAfter != 10*time.Millisecond {
			t.Errorf("got %#v, want a pause of 10 ms", err)
		}
	})
}

// TestStraysMakeRoom: a load waits as its account has all the strays that it may
// have; it begins once one of them has ended.
func TestStraysMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const strays = 8 // an eighth of 64
		src, back := newTestSource(), make(chan struct{})
		src.before = func(context.Context, tokencache.TokenID) error { <-back; return nil }
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxWait: 2 * time.Hour})
		c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 8, LoadTimeout: time.Second})
		var results []<-chan result
		for i := range strays + 2 {
			results = append(results, begin(t, c, fmt.Sprintf("a/a/%d", i), "supersecret"))
		}
		for _, ch := range results[:strays] {
			expect(t, ch, context.DeadlineExceeded)
		}
		time.Sleep(time.Hour)
		if got := c.Stats(); got.Strays != strays || got.Loading != 0 || got.Waiting != 2 {
			t.Errorf("got %+v", got)
		}
		start := time.Now()
		close(back)
		for _, ch := range results[strays:] {
			expect(t, ch, tokencache.ErrRefused)
		}
		if got := time.Since(start); got != 0 {
			t.Errorf("they waited for another %v", got)
		}
	})
}
