package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestClose ends a load in flight by its context, without waiting for it; Wait does. The
// cache answers nothing afterwards, and keeps nothing.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, other := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token2", "supersecret")
		src := newTestSource(token, other)
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{})
		check(t, c, token, "ok")
		var returned atomic.Bool
		src.before = func(ctx context.Context, _ tokencache.TokenID) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			returned.Store(true)
			return ctx.Err()
		}
		inFlight := async(t.Context(), c, other)
		synctest.Wait()

		start := time.Now()
		g.Close()
		c.Close() // again
		expect(t, inFlight, tokencache.ErrClosed)
		if returned.Load() || time.Since(start) != 0 {
			t.Error("Close waited for the load")
		}

		impatient, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := c.Wait(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait beside a load: got %v", err)
		}
		if err := g.Wait(t.Context()); err != nil || !returned.Load() {
			t.Errorf("Wait: got %v before the load had ended", err)
		}

		for _, tok := range []tokencache.Token{token, other} {
			if _, err := c.AuthenticateToken(t.Context(), tok); !errors.Is(err, tokencache.ErrClosed) {
				t.Errorf("%v after Close: got %v, want ErrClosed", tok, err)
			}
		}
		if got := src.subscribers(); got != 0 {
			t.Errorf("%d subscriptions are left", got)
		}
		if got := c.Stats(); got.Entries != 0 || got.Loading != 0 {
			t.Errorf("got %+v, want nothing left", got)
		}
		if got := c.Evict(t.Context(), tokencache.CauseAsked, all(t, fleet)); got != 0 {
			t.Errorf("an eviction after Close removed %d", got)
		}
	})
}

func TestGroupsAndCachesPrintNoKey(t *testing.T) {
	p := newPair(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		if got := fmt.Sprintf(verb, p.group); got != "tokencache.Group of 2 caches" {
			t.Errorf("%s prints %s", verb, got)
		}
		if got := fmt.Sprintf(verb, p.fileCache); got != `tokencache.Cache "file"` {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func TestEmptyAndClosedGroupsDoNotRefuse(t *testing.T) {
	token := mustToken(t, "a/a/a", "supersecret")
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	if _, err := g.AuthenticateToken(t.Context(), token); reasonOf(err) != tokencache.ReasonUnavailable || errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("an empty group: got %v", err)
	}
	_, err := g.AuthenticateToken(t.Context(), token)
	if want := "tokencache: no answer (unavailable): the group has no caches"; err == nil || err.Error() != want {
		t.Errorf("an empty group: got %v, want %s", err, want)
	}
	g.Close()
	if _, err := g.AuthenticateToken(t.Context(), token); !errors.Is(err, tokencache.ErrClosed) {
		t.Errorf("a closed group: got %v", err)
	}
	src := newTestSource()
	if _, err := tokencache.New(g, "test", src, tokencache.Config{}); !errors.Is(err, tokencache.ErrClosed) || src.subscribers() != 0 {
		t.Errorf("New on a closed group: got %v, with %d subscriptions", err, src.subscribers())
	} else if want := `tokencache: closed: the group, before it got the cache "test"`; err.Error() != want {
		t.Errorf("New on a closed group: got %v, want %s", err, want)
	}
}

// TestCloseIsOneInstant: until the caches are closed, nobody is told that the group is.
func TestCloseIsOneInstant(t *testing.T) {
	token, other := mustToken(t, "a/a/a", "supersecret"), mustToken(t, "a/a/other", "supersecret")
	g, src := tokencache.NewGroup(tokencache.GroupConfig{}), newTestSource(token, other)
	c := newCache(t, g, "test", src, tokencache.Config{})
	check(t, c, token, "ok")
	tokencache.BeginClose(g)
	if _, err := tokencache.New(g, "late", newTestSource(), tokencache.Config{}); !errors.Is(err, tokencache.ErrClosed) {
		t.Errorf("New: got %v", err)
	}
	if _, err := g.AuthenticateToken(t.Context(), other); err != nil {
		t.Errorf("a miss: got %v", err)
	}
	if _, err := g.Authenticate(t.Context(), header(token)); err != nil {
		t.Errorf("a hit after that miss: got %v", err)
	}
	g.Close()
	for _, token := range []tokencache.Token{token, other} {
		if _, err := g.AuthenticateToken(t.Context(), token); !errors.Is(err, tokencache.ErrClosed) {
			t.Errorf("%v: got %v", token, err)
		}
	}
}

// TestCloseAgain does nothing: a source is told once that its cache has gone.
func TestCloseAgain(t *testing.T) {
	src := &cancelled{testSource: newTestSource()}
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c, err := tokencache.New(g, "test", src, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.Close()
	g.Close()
	if err := g.Wait(t.Context()); err != nil || src.times != 1 {
		t.Errorf("got %v, and the subscription ended %d times, want once", err, src.times)
	}
}

// A cancelled source counts the ends of its subscriptions.
type cancelled struct {
	*testSource
	times int
}

func (c *cancelled) Subscribe(tokencache.Invalidator) (cancel func()) { return func() { c.times++ } }

// A sticky source does not come back from the end of its subscription.
type sticky struct {
	*testSource
	release chan struct{}
}

func (s sticky) Subscribe(tokencache.Invalidator) (cancel func()) {
	return func() { <-s.release }
}

func TestCloseWithAHungSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, hung, second := tokencache.NewGroup(tokencache.GroupConfig{}), sticky{newTestSource(), make(chan struct{})}, newTestSource()
		newCache(t, g, "hung", hung, tokencache.Config{})
		c := newCache(t, g, "second", second, tokencache.Config{})
		g.Close()
		synctest.Wait()
		if second.subscribers() != 0 {
			t.Error("the second source is still subscribed")
		}
		check(t, c, mustToken(t, "a/a/a", "supersecret"), "error")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait: got %v beside a source that hangs", err)
		}
		close(hung.release)
		if err := g.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseEndsTheContextsOfAllLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, ended := newTestSource(), 0
		src.before = func(ctx context.Context, _ tokencache.TokenID) error {
			if ctx.Err() != nil {
				t.Errorf("a load's context has ended before the load: %v", ctx.Err())
			}
			<-ctx.Done()
			src.mu.Lock()
			defer src.mu.Unlock()
			ended++
			return ctx.Err()
		}
		c := solo(t, src, tokencache.Config{})
		var results []<-chan result
		for i := range 5 {
			results = append(results, begin(t, c, fmt.Sprintf("a/a/%d", i), "supersecret"))
		}
		start := time.Now()
		c.Close()
		for _, ch := range results {
			expect(t, ch, tokencache.ErrClosed)
		}
		synctest.Wait()
		if ended != 5 || time.Since(start) != 0 {
			t.Errorf("%d of 5 loads have ended after %v", ended, time.Since(start))
		}
	})
}

func TestCloseReleasesWhoWaitsForALoadToStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, gate := newTestSource(), newGate()
		src.before = gate.pass
		c := solo(t, src, tokencache.Config{MaxLoads: 1})
		var results []<-chan result
		for i := range 3 {
			results = append(results, async(context.Background(), c, mustToken(t, fmt.Sprintf("a/b/t%d", i), "supersecret")))
		}
		synctest.Wait()
		c.Close()
		for _, ch := range results {
			if r := <-ch; !errors.Is(r.err, tokencache.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", r.err)
			}
		}
		if got := c.Stats().Loads; got != 1 {
			t.Errorf("%d loads have read, want the one from before the end", got)
		}
	})
}

// TestStaleNeedsALease: the lease lapses while a load runs whose failure would have a
// stale entry answer.
func TestStaleNeedsALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := newTestSource(token)
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{TTL: time.Minute, ServeStale: time.Hour})
		check(t, c, token, "ok")
		src.before = func(context.Context, tokencache.TokenID) error { time.Sleep(2 * time.Second); return errOutage }
		time.Sleep(time.Minute)
		check(t, c, token, "ok") // stale
		g.Lease(time.Now().Add(time.Second))
		check(t, c, token, "error")
	})
}

// TestLease: without a lease that is needed nothing is answered, from memory or not;
// a pause that is longer than the lease is noticed by the first hit.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, fresh := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token2", "supersecret")
		src := newTestSource(token, fresh)
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		newCache(t, g, "test", src, tokencache.Config{})
		lapsed := func(token tokencache.Token) {
			t.Helper()
			_, err := g.Authenticate(t.Context(), header(token))
			if noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err); !ok || noAnswer.Reason != tokencache.ReasonLapsed {
				t.Errorf("got %v, want a lapsed lease", err)
			}
		}
		good := func(token tokencache.Token) {
			t.Helper()
			if _, err := g.Authenticate(t.Context(), header(token)); err != nil {
				t.Error(err)
			}
		}
		good(token)
		g.Lease(time.Now().Add(time.Second))
		good(token)
		time.Sleep(time.Second)
		lapsed(token)
		lapsed(fresh)
		lapsed(mustToken(t, "elastic/fleet-server/token1", "wrong-secret"))
		if got := src.loadsOf(fresh.ID()); got != 0 {
			t.Errorf("the source was read %d times without a lease", got)
		}
		g.Lease(time.Now().Add(time.Second))
		good(token)
		time.Sleep(time.Minute)
		lapsed(token)
		g.Lease(time.Time{})
		good(token)
		good(fresh)
	})
}

// TestLeaseIsOverAtOnce: a lease that ends when the group begins, or before, lets it
// answer nothing; as in the test of a host, where time stands still.
func TestLeaseIsOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ago := range []time.Duration{0, 1, time.Hour} {
			token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
			g := tokencache.NewGroup(tokencache.GroupConfig{})
			c := newCache(t, g, "test", newTestSource(token), tokencache.Config{})
			g.Lease(time.Now().Add(-ago))
			if _, err := c.AuthenticateToken(t.Context(), token); reasonOf(err) != tokencache.ReasonLapsed {
				t.Errorf("%v ago: got %v, want that the lease has lapsed", ago, err)
			}
		}
	})
}

// TestLeaseIsLookedAt: from its end on, nothing is confirmed nor refused, in whatever way.
func TestLeaseIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, wrong := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token1", "wrong-secret")
		other := mustToken(t, "elastic/fleet-server/other", "supersecret")
		src := newTestSource(token, other)
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{})
		g.Lease(time.Now().Add(time.Minute))
		check(t, c, token, "ok")
		time.Sleep(time.Minute - 1)
		check(t, c, token, "ok")
		gate := newGate()
		src.before = gate.pass
		joined := []<-chan result{begin(t, c, other.String(), "supersecret")}
		time.Sleep(time.Nanosecond)
		for _, token := range []tokencache.Token{token, wrong, other} {
			if _, err := c.Authenticate(t.Context(), header(token)); reasonOf(err) != tokencache.ReasonLapsed {
				t.Errorf("%v: got %v, want that the lease has lapsed", token, err)
			}
		}
		g.Lease(time.Now().Add(time.Minute))
		check(t, c, token, "ok")
		g.Lease(time.Now().Add(-time.Minute))
		check(t, c, token, "error")
		g.Lease(time.Time{})
		joined = append(joined, begin(t, c, other.String(), "supersecret"))
		close(gate.open)
		for _, ch := range joined {
			expect(t, ch, nil)
		}
		if got := g.Stats().Lapsed; got != 4 {
			t.Errorf("got %d without an answer, want 4", got)
		}
	})
}

// TestWaitAgain: one waits for what runs, and later for what runs then.
func TestWaitAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		src.before = func(context.Context, tokencache.TokenID) error { time.Sleep(time.Second); return nil }
		c := solo(t, src, tokencache.Config{AbsentTTL: -1})
		for range 3 {
			start := time.Now()
			begin(t, c, "a/a/a", "supersecret")
			var waits sync.WaitGroup
			for range 2 {
				waits.Go(func() {
					if err := c.Wait(t.Context()); err != nil || time.Since(start) != time.Second {
						t.Errorf("got %v after %v", err, time.Since(start))
					}
				})
			}
			waits.Wait()
			if err := c.Wait(t.Context()); err != nil { // nothing runs
				t.Error(err)
			}
		}
	})
}
