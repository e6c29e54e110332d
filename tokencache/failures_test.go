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
				c := solo(t, src, tokencache.Config{})
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

// TestFailuresInARow: an answer in between, a refusal too, makes the count begin anew.
func TestFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		c := solo(t, src, tokencache.Config{AbsentTTL: -1})
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
		c := solo(t, src, tokencache.Config{})
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
		if got := c.Stats(); got.Abandoned != strays || got.Loading != 0 || got.Waiting != 2 {
			t.Errorf("got %+v", got)
		}
		start := time.Now()
		back <- struct{}{}
		synctest.Wait()
		if got := c.Stats(); got.Abandoned != strays-1 || got.Loading != 1 || got.Waiting != 1 {
			t.Errorf("after the end of one: got %+v", got)
		}
		close(back)
		for _, ch := range results[strays:] {
			expect(t, ch, tokencache.ErrRefused)
		}
		if got := time.Since(start); got != 0 {
			t.Errorf("they waited for another %v", got)
		}
	})
}

// TestStraysOfAllAccounts: at the bound nobody begins a load, and what is in memory
// still answers.
func TestStraysOfAllAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := mustToken(t, "good/good/good", "supersecret")
		src, back := newTestSource(good), make(chan struct{})
		c := solo(t, src, tokencache.Config{MaxLoads: 2, LoadTimeout: time.Second})
		check(t, c, good, "ok")
		src.before = func(context.Context, tokencache.TokenID) error { <-back; return nil }
		for i := range 64 {
			expect(t, begin(t, c, fmt.Sprintf("bad%d/a/a", i), "supersecret"), context.DeadlineExceeded)
		}
		start := time.Now()
		_, err := c.AuthenticateToken(t.Context(), mustToken(t, "c/c/c", "supersecret"))
		if noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err); !ok || noAnswer.Reason != tokencache.ReasonUnavailable || time.Since(start) != 0 {
			t.Errorf("got %v after %v, want the source to be unavailable", err, time.Since(start))
		}
		check(t, c, good, "ok")
		close(back)
		synctest.Wait()
		check(t, c, mustToken(t, "c/c/c", "supersecret"), "refused")
	})
}

// TestBackoffBySource: after five failures in a row the source is left alone, for pauses
// that double to a second; the first success ends it, and what it tells of a change.
func TestBackoffBySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src, reads := newTestSource(token), 0
		outage := func(context.Context, tokencache.TokenID) error { reads++; return errOutage }
		src.before = outage
		c := solo(t, src, tokencache.Config{})
		failed := func(want tokencache.Reason) *tokencache.NoAnswerError {
			t.Helper()
			_, err := c.AuthenticateToken(t.Context(), token)
			noAnswer, _ := errors.AsType[*tokencache.NoAnswerError](err)
			if noAnswer == nil || noAnswer.Reason != want || !errors.Is(err, errOutage) {
				t.Fatalf("got %v, want %v", err, want)
			}
			return noAnswer
		}
		for range 5 {
			failed(tokencache.ReasonSourceFailed)
		}
		pause := 10 * time.Millisecond
		for range 12 {
			if got := failed(tokencache.ReasonUnavailable).RetryAfter; got != pause {
				t.Errorf("got a pause of %v, want %v", got, pause)
			}
			time.Sleep(pause - 1)
			failed(tokencache.ReasonUnavailable)
			time.Sleep(time.Nanosecond)
			failed(tokencache.ReasonSourceFailed)
			pause = min(2*pause, time.Second)
		}
		if reads != 17 {
			t.Errorf("got %d reads, want 17", reads)
		}
		src.before = nil
		failed(tokencache.ReasonUnavailable)
		time.Sleep(time.Second)
		check(t, c, token, "ok")
		src.before = outage
		c.Clear(t.Context(), tokencache.CauseAsked)
		for range 5 { // counted from the start
			failed(tokencache.ReasonSourceFailed)
		}
		if got := failed(tokencache.ReasonUnavailable).RetryAfter; got != 10*time.Millisecond {
			t.Errorf("got a pause of %v after a success, want the first one", got)
		}
		src.before = nil
		src.caches.Clear(t.Context(), tokencache.CauseState)
		check(t, c, token, "ok")
	})
}

// TestHangingAccountLeavesRoom: reads of one account hang, with a source that
// ignores its context; other accounts are answered meanwhile and afterwards.
func TestHangingAccountLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := mustToken(t, "good/one/t", "supersecret")
		src, release := newTestSource(good), make(chan struct{})
		src.before = func(_ context.Context, id tokencache.TokenID) error {
			if id.Account.Namespace == "bad" {
				<-release
			}
			return nil
		}
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 64, LoadTimeout: time.Second})
		for i := range 4000 {
			async(t.Context(), c, mustToken(t, fmt.Sprintf("bad/one/t%d", i), "supersecret"))
		}
		for range 30 {
			c.Clear(t.Context(), tokencache.CauseAsked)
			began := time.Now()
			check(t, c, good, "ok")
			if took := time.Since(began); took != 0 {
				t.Fatalf("the good token waited for %v", took)
			}
			time.Sleep(time.Second)
		}
		if st := c.Stats(); st.Abandoned > 16 || st.Loading > 8 || st.Abandoned == 0 {
			t.Errorf("got %+v, want at most an eighth of 64 loading, and as many strays", st)
		}
		_, err := c.AuthenticateToken(t.Context(), mustToken(t, "bad/one/more", "supersecret"))
		if noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err); !ok || noAnswer.Reason != tokencache.ReasonUnavailable {
			t.Errorf("the account whose loads hang got %v, want unavailable at once", err)
		}
		close(release)
		synctest.Wait()
		if st := c.Stats(); st.Abandoned != 0 || st.Loading != 0 || st.Waiting != 0 {
			t.Errorf("got %+v after the source came back, want nothing left", st)
		}
		check(t, c, mustToken(t, "bad/one/more", "supersecret"), "refused")
	})
}

// TestStraysOfOneAccount: it may have an eighth of MaxLoads, and 8 at least.
func TestStraysOfOneAccount(t *testing.T) {
	for maxLoads, want := range map[int]int{1: 8, 128: 16} {
		synctest.Test(t, func(t *testing.T) {
			src, back := newTestSource(), make(chan struct{})
			src.before = func(context.Context, tokencache.TokenID) error { <-back; return nil }
			c := solo(t, src, tokencache.Config{MaxLoads: maxLoads, LoadTimeout: time.Second})
			for i := range want {
				expect(t, begin(t, c, fmt.Sprintf("a/a/t%d", i), "supersecret"), context.DeadlineExceeded)
			}
			if _, err := c.AuthenticateToken(t.Context(), mustToken(t, "a/a/more", "supersecret")); reasonOf(err) != tokencache.ReasonUnavailable {
				t.Errorf("MaxLoads %d: got %v with %d strays, want unavailable", maxLoads, err, want)
			}
			close(back)
			synctest.Wait()
		})
	}
}

// TestUnavailableLeavesNothing: an account that is turned away while its source is left
// alone takes no room.
func TestUnavailableLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		src := newTestSource()
		src.fail()
		c := newCache(t, g, "test", src, tokencache.Config{})
		for i := range 5 {
			check(t, c, mustToken(t, fmt.Sprintf("a/b%d/a", i), "supersecret"), "error")
		}
		for i := range 20 {
			_, err := c.AuthenticateToken(t.Context(), mustToken(t, fmt.Sprintf("a/a%d/a", i), "supersecret"))
			if reasonOf(err) != tokencache.ReasonUnavailable {
				t.Errorf("got %v", err)
			}
		}
		if got := tokencache.Bookkeeping(g); got != 0 {
			t.Errorf("%d records are kept of loads that were turned away", got)
		}
	})
}

// TestRoomForSeveral: an account's loads wait, as too many of it are strays. Once there
// are few enough, as many begin as have turns, and not one at a time.
func TestRoomForSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, back := newTestSource(), make(chan struct{})
		src.before = func(context.Context, tokencache.TokenID) error { <-back; return nil }
		c := solo(t, src, tokencache.Config{MaxLoads: 64, LoadTimeout: time.Second})
		for i := range 24 {
			async(t.Context(), c, mustToken(t, fmt.Sprintf("a/a/t%d", i), "supersecret"))
		}
		for _, want := range []tokencache.Stats{
			{Abandoned: 15, Waiting: 9}, // 8 were too many to begin others; 7 had begun before the eighth took too long
			{Abandoned: 8, Waiting: 9},
			{Abandoned: 7, Waiting: 1, Loading: 8},
		} {
			if want.Loading == 0 {
				time.Sleep(3 * time.Second)
			}
			for c.Stats().Abandoned > want.Abandoned {
				back <- struct{}{}
				synctest.Wait()
			}
			if got := c.Stats(); got.Abandoned != want.Abandoned || got.Waiting != want.Waiting || got.Loading != want.Loading {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		close(back)
		synctest.Wait()
	})
}

// TestANewNameEndsAPause: during a pause of an account, a name that has not failed may
// try, and its success ends the pause.
func TestANewNameEndsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := []tokencache.Token{mustToken(t, "a/a/one", "supersecret"), mustToken(t, "a/a/two", "supersecret")}
		first, second := mustToken(t, "a/a/three", "supersecret"), mustToken(t, "a/a/four", "supersecret")
		src := newTestSource(append(failing, first, second)...)
		c := solo(t, src, tokencache.Config{})
		src.fail()
		for range 100 { // pauses get longer
			check(t, c, failing[0], "error")
			check(t, c, failing[1], "error")
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(150 * time.Millisecond) // somebody may try again by now
		src.before = nil
		check(t, c, failing[0], "error") // they are left alone
		check(t, c, failing[1], "error")
		check(t, c, first, "ok")
		check(t, c, second, "ok")
	})
}
