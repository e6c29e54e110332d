package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

var errDown = errors.New("connection refused")

func down(context.Context, tokencache.TokenID) error { return errDown }

// TestServeStale: past its TTL a token is confirmed while the source fails, says so,
// and no longer than asked for.
func TestServeStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := newTestSource(token)
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src,
			tokencache.Config{TTL: time.Minute, Jitter: -1, ServeStale: 10 * time.Minute, MaxBackoff: -1})
		check(t, c, token, "ok")
		src.before = down
		expect := func(stale bool) {
			t.Helper()
			if v, err := c.AuthenticateToken(t.Context(), token); err != nil || v.Stale != stale || v.Record.Version != 1 {
				t.Errorf("got %+v, %v, want it with Stale %v", v, err, stale)
			}
		}
		expect(false)
		time.Sleep(time.Minute)
		expect(true)
		check(t, c, mustToken(t, "elastic/fleet-server/token1", "wrong-secret"), "error")
		time.Sleep(9 * time.Minute)
		expect(true)
		if got := c.Stats().Stale; got != 2 {
			t.Errorf("got %d stale, want 2", got)
		}
		time.Sleep(time.Minute)
		check(t, c, token, "error")
	})
}

// TestStaleEnds: an eviction and a refusal by the source end it, and it is off
// unless asked for.
func TestStaleEnds(t *testing.T) {
	for _, test := range []struct {
		name  string
		stale time.Duration
		end   func(*testSource, *tokencache.Cache[record])
		want  string
	}{
		{"nothing", time.Hour, func(*testSource, *tokencache.Cache[record]) {}, "ok"},
		{"off", 0, func(*testSource, *tokencache.Cache[record]) {}, "error"},
		{"evicted", time.Hour, func(_ *testSource, c *tokencache.Cache[record]) {
			c.Evict(context.Background(), tokencache.CauseAsked, named(t, fleet, "token1"))
		}, "error"},
		{"refused meanwhile", time.Hour, func(src *testSource, c *tokencache.Cache[record]) {
			src.before = nil
			src.remove(fleet.TokenID("token1"))
			c.AuthenticateToken(context.Background(), mustToken(t, "elastic/fleet-server/token1", "supersecret"))
			src.before = down
			time.Sleep(time.Minute) // AbsentTTL
		}, "error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
				src := newTestSource(token)
				c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src,
					tokencache.Config{TTL: time.Minute, ServeStale: test.stale, MaxBackoff: -1})
				check(t, c, token, "ok")
				time.Sleep(time.Minute)
				src.before = down
				test.end(src, c)
				check(t, c, token, test.want)
			})
		})
	}
}

// TestTokenExpires: an entry never outlives its token, and is never stale.
func TestTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := &mortal{testSource: newTestSource(token), expires: time.Now().Add(time.Minute)}
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{ServeStale: time.Hour, RefreshAhead: time.Second})
		check(t, c, token, "ok")
		time.Sleep(time.Minute - 1)
		check(t, c, token, "ok")
		if got := src.loadsOf(token.ID()); got != 1 {
			t.Errorf("got %d reads, want 1", got)
		}
		time.Sleep(time.Nanosecond)
		_, err := c.AuthenticateToken(t.Context(), token)
		if refused, ok := errors.AsType[*tokencache.RefusedError](err); !ok || refused.Reason != tokencache.ReasonExpired {
			t.Errorf("got %v, want expired", err)
		}
		src.before = down
		check(t, c, token, "error")
	})
}

// A mortal source's tokens expire.
type mortal struct {
	*testSource
	expires time.Time
}

func (m *mortal) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	a, err := m.testSource.Lookup(ctx, id)
	a.Expires = m.expires
	return a, err
}

// TestRefreshAhead: a token in use is loaded again before its TTL ends, once; one that
// is not in use is not; a refresh that fails changes nothing.
func TestRefreshAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inUse, idle := mustToken(t, "elastic/fleet-server/used", "supersecret"), mustToken(t, "elastic/fleet-server/idle", "supersecret")
		src := newTestSource(inUse, idle)
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{TTL: 10 * time.Minute, Jitter: -1, RefreshAhead: 2 * time.Minute})
		check(t, c, inUse, "ok")
		check(t, c, idle, "ok")
		for range 12 * 60 {
			time.Sleep(time.Second)
			if v, err := c.AuthenticateToken(t.Context(), inUse); err != nil || !v.FromMemory {
				t.Fatalf("got %+v, %v, want it from memory all the time", v, err)
			}
		}
		synctest.Wait()
		if used, other := src.loadsOf(inUse.ID()), src.loadsOf(idle.ID()); used != 2 || other != 1 || c.Stats().Refreshed != 1 {
			t.Errorf("got %d and %d reads, %+v, want 2, 1 and 1 refreshed", used, other, c.Stats())
		}
		src.before = down
		tries := c.Stats().Errors
		for range 6 * 60 {
			time.Sleep(time.Second)
			check(t, c, inUse, "ok")
		}
		if got := c.Stats().Errors - tries; got != 1 {
			t.Errorf("a refresh that failed was tried %d times, want once", got)
		}
	})
}

// TestBackoff: a source that fails load after load is left alone for longer and
// longer, up to a second; the first success ends it.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := newTestSource(token)
		calls := 0
		src.before = func(ctx context.Context, id tokencache.TokenID) error { calls++; return errDown }
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
		for range 60_000 { // a minute
			_, err := c.AuthenticateToken(t.Context(), token)
			noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err)
			if !ok || !errors.Is(err, errDown) {
				t.Fatalf("got %v, want the outage", err)
			}
			if noAnswer.Reason == tokencache.ReasonUnavailable && (noAnswer.RetryAfter <= 0 || noAnswer.RetryAfter > time.Second) {
				t.Fatalf("got a pause of %v", noAnswer.RetryAfter)
			}
			time.Sleep(time.Millisecond)
		}
		if calls < 60 || calls > 80 {
			t.Errorf("the source was asked %d times in a minute, want about once a second", calls)
		}
		src.before = nil
		time.Sleep(time.Second)
		check(t, c, token, "ok")
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

// TestObserver hears of each kind of event, once, with what happened, and may call
// the group.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards events
		var events []string
		var g *tokencache.Group
		g = tokencache.NewGroup(tokencache.GroupConfig{Observer: func(ctx context.Context, ev tokencache.Event) {
			g.Stats() // takes the mutex
			text := fmt.Sprint(ev.Kind, " ", ev.Cache, " ", ev.Token, " ", ev.Reason, " ", ev.Cause, " ", ev.Selectors, " ", ev.Evicted, " ", ev.Count, " ", ctx.Value(ctxKey{}))
			if noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](ev.Err); ok {
				text += fmt.Sprint(" stack:", len(noAnswer.Stack) > 0)
			}
			mu.Lock()
			defer mu.Unlock()
			events = append(events, text)
		}})
		src := newTestSource(mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token2", "supersecret"))
		c := newCache(t, g, "test", src, tokencache.Config{MaxEntries: 1})
		ctx := context.WithValue(t.Context(), ctxKey{}, "me")
		authenticate := func(name, secret string) {
			c.AuthenticateToken(ctx, mustToken(t, "elastic/fleet-server/"+name, secret))
			synctest.Wait()
		}
		authenticate("token1", "supersecret")
		authenticate("token1", "supersecret") // a hit: no event
		authenticate("token2", "wrong-secret")
		authenticate("token2", "supersecret")
		time.Sleep(time.Second)
		synctest.Wait() // the displacement is told at this very instant
		src.before = func(context.Context, tokencache.TokenID) error { panic("supersecret") }
		authenticate("token3", "supersecret")
		g.Evict(ctx, tokencache.CauseNode, named(t, fleet, "token2"))
		g.Close()
		want := []string{
			"load test elastic/fleet-server/token1 none asked [] map[] 0 me",
			"load test elastic/fleet-server/token2 wrong_secret asked [] map[] 0 me",
			"load test elastic/fleet-server/token2 none asked [] map[] 0 me",
			"displacement test // none asked [] map[] 1 <nil>",
			"load test elastic/fleet-server/token3 source_panicked asked [] map[] 0 me stack:true",
			"eviction test // none node [elastic/fleet-server/token2] map[test:1] 0 me",
			"eviction test // none closed [] map[test:0] 0 <nil>",
		}
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff(want, events); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})
}

// TestOutcomesAddUp: every authentication is counted once.
func TestOutcomesAddUp(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	src := newTestSource(token)
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c := newCache(t, g, "test", src, tokencache.Config{})
	send := func(authorization string) { g.Authenticate(t.Context(), authorization) }
	send(header(token))
	send(header(token))
	send("Basic x")
	send(header(mustToken(t, "elastic/fleet-server/token1", "wrong-secret")))
	send(header(mustToken(t, "elastic/fleet-server/nobody", "supersecret")))
	send(header(mustToken(t, "elastic/fleet-server/nobody", "supersecret")))
	src.before = down
	send(header(mustToken(t, "elastic/fleet-server/other", "supersecret")))
	c.Close()
	send(header(token))
	want := tokencache.GroupStats{Confirmed: 2, Refused: 3, NotServiceTokens: 1, NoAnswer: 1, Closed: 1}
	if diff := cmp.Diff(want, g.Stats()); diff != "" {
		t.Errorf("group (-want +got):\n%s", diff)
	}
	for name, st := range g.Caches() {
		want := tokencache.Stats{Hits: 1, Mismatches: 1, Absent: 1, Misses: 3, Loads: 3, Refusals: 1, Errors: 1, Stored: 1, Evicted: 1}
		if diff := cmp.Diff(want, st); name != "test" || diff != "" {
			t.Errorf("cache %q (-want +got):\n%s", name, diff)
		}
	}
}

// TestNobodyToAsk: a group without caches, and a closed one, have no answer, and take
// no cache.
func TestNobodyToAsk(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	if _, err := g.AuthenticateToken(t.Context(), token); err == nil || errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("an empty group: got %v, want no answer", err)
	}
	g.Close()
	if _, err := g.AuthenticateToken(t.Context(), token); !errors.Is(err, tokencache.ErrClosed) {
		t.Errorf("a closed group: got %v", err)
	}
	src := newTestSource()
	if _, err := tokencache.New(g, "late", src, tokencache.Config{}); !errors.Is(err, tokencache.ErrClosed) || src.subscribers() != 0 {
		t.Errorf("a cache for a closed group: got %v, %d subscriptions", err, src.subscribers())
	}
}

// TestNothingPrintsTheKey: not for any verb.
func TestNothingPrintsTheKey(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c := newCache(t, g, "test", newTestSource(), tokencache.Config{})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		if got := fmt.Sprintf(verb, g); got != "tokencache.Group of 1 caches" {
			t.Errorf("%s of a group: %s", verb, got)
		}
		if got := fmt.Sprintf(verb, c); got != `tokencache.Cache "test"` {
			t.Errorf("%s of a cache: %s", verb, got)
		}
	}
}
