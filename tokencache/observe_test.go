package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestObserverMayCallBack hears of each kind of event, with the values of the caller's context
// and under no lock: it calls back into the group.
func TestObserverMayCallBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var events []tokencache.Event
		var values []any
		var g *tokencache.Group
		g = tokencache.NewGroup(tokencache.GroupConfig{MaxQueue: 1, Observer: func(ctx context.Context, e tokencache.Event) {
			g.Stats()
			for range g.Caches() {
			}
			tokencache.WithMutexHeld(g, func() {})
			mu.Lock()
			defer mu.Unlock()
			events, values = append(events, e), append(values, ctx.Value(ctxKey{}))
		}})
		one, two := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token2", "supersecret")
		src := newTestSource(one, two)
		c := newCache(t, g, "test", src, tokencache.Config{MaxEntries: 1, MaxLoads: 1})
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "trace"))
		take := func() tokencache.Event {
			t.Helper()
			time.Sleep(2 * time.Second)
			mu.Lock()
			defer mu.Unlock()
			if len(events) == 0 {
				t.Fatal("the observer was not told")
			}
			e := events[0]
			if values[0] != "trace" && e.Kind != tokencache.EventDisplacement && e.Cause != tokencache.CauseClosed {
				t.Errorf("%v: the context has the value %v", e.Kind, values[0])
			}
			events, values = events[1:], values[1:]
			return e
		}
		c.AuthenticateToken(ctx, one)
		if e := take(); e.Kind != tokencache.EventLoad || e.Cache != "test" || e.Token != one.ID() || e.Reason != 0 || e.Err != nil {
			t.Errorf("got %+v", e)
		}
		c.AuthenticateToken(ctx, one) // a hit: nothing is told
		src.after = func(context.Context, tokencache.TokenID) error { time.Sleep(3 * time.Second); return nil }
		c.AuthenticateToken(ctx, two)
		if e := take(); e.Kind != tokencache.EventLoad || e.Token != two.ID() || e.Duration != 3*time.Second {
			t.Errorf("got %+v", e)
		}
		if e := take(); e.Kind != tokencache.EventDisplacement || e.Cache != "test" || e.Count != 1 {
			t.Errorf("got %+v", e)
		}
		g.Evict(ctx, tokencache.CauseNode, all(t, fleet))
		if e := take(); e.Kind != tokencache.EventEviction || e.Cause != tokencache.CauseNode || len(e.Selectors) != 1 || e.Evicted["test"] != 1 {
			t.Errorf("got %+v", e)
		}
		c.Clear(ctx, tokencache.CauseAsked)
		if e := take(); e.Kind != tokencache.EventEviction || e.Cache != "test" || e.Selectors != nil || e.Evicted["test"] != 0 {
			t.Errorf("got %+v", e)
		}
		src.after = func(context.Context, tokencache.TokenID) error { panic("supersecret") }
		c.AuthenticateToken(ctx, one)
		e := take()
		if noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](e.Err); e.Kind != tokencache.EventLoad || e.Reason != tokencache.ReasonSourcePanicked || !ok || len(noAnswer.Stack) == 0 {
			t.Errorf("got %+v", e)
		}
		gate := newGate()
		src.after = gate.pass
		for i := range 2 {
			async(ctx, c, mustToken(t, fmt.Sprintf("x/x/%d", i), "supersecret"))
			synctest.Wait()
		}
		c.AuthenticateToken(ctx, mustToken(t, "x/x/2", "supersecret"))
		if e := take(); e.Kind != tokencache.EventOverload || e.Reason != tokencache.ReasonOverloaded || e.Cache != "test" || !errors.Is(e.Err, tokencache.ErrOverloaded) {
			t.Errorf("got %+v", e)
		}
		cancel()
		close(gate.open)
		time.Sleep(time.Second)
		mu.Lock()
		for _, e := range events {
			if e.Kind != tokencache.EventLoad {
				t.Errorf("got %+v", e)
			}
		}
		events, values = nil, nil
		mu.Unlock()
		g.Close()
		if e := take(); e.Kind != tokencache.EventEviction || e.Cause != tokencache.CauseClosed {
			t.Errorf("got %+v", e)
		}
	})
}

// TestGroupStatsAddUp: each authentication ends in one of the group's counters.
func TestGroupStatsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, gone := mustToken(t, "elastic/fleet-server/good", "supersecret"), mustToken(t, "elastic/fleet-server/gone", "supersecret")
		src := newTestSource(good)
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxQueue: 1, KnownAccount: func(a tokencache.Account) bool { return a.Namespace != "strange" }})
		c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 1, ServeStale: time.Hour, MaxBackoff: -1})
		var want tokencache.GroupStats
		try := func(counter *uint64, authorization string) {
			t.Helper()
			g.Authenticate(t.Context(), authorization)
			*counter++
			if got := g.Stats(); got != want {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
		for range 2 {
			try(&want.Confirmed, header(good))                                                      // a load, a hit
			try(&want.Refused, header(mustToken(t, good.String(), "wrong-secret")))                 // from memory
			try(&want.Refused, header(gone))                                                        // by the source, from memory
			try(&want.Refused, header(mustToken(t, "strange/a/a", "supersecret")))                  // unknown account
			try(&want.Refused, "Bearer "+encode("\x00\x01\x00\x01elastic/fleet-server/good:short")) // too short
			try(&want.NotServiceTokens, "Basic x")                                                  // another scheme
			try(&want.NotServiceTokens, "Bearer x")                                                 // another bearer
		}
		src.fail()
		other := mustToken(t, "elastic/fleet-server/other", "supersecret")
		try(&want.NoAnswer, header(other))
		time.Sleep(20 * time.Minute)
		try(&want.Confirmed, header(good)) // stale
		gate := newGate()
		src.before = gate.pass
		results := []<-chan result{begin(t, c, "a/a/1", "supersecret"), begin(t, c, "a/a/2", "supersecret")}
		try(&want.Overloaded, header(other))
		close(gate.open)
		for _, ch := range results {
			expect(t, ch, tokencache.ErrRefused)
			want.Refused++
		}
		c.Close()
		try(&want.Closed, header(good))
		g.Close()
		try(&want.Closed, header(good))
	})
}
