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

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

// TestObserverMayCallBack: the observer is told of each kind of event, with the values of
// the caller's context and under no lock: this one calls back into the group.
func TestObserverMayCallBack(t *testing.T) {
	one, two := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token2", "supersecret")
	for _, test := range []struct {
		name string
		act  func(context.Context, *witness)
		want []string
	}{
		{"a load, and no hit", func(ctx context.Context, w *witness) {
			w.ask(ctx, one)
			w.ask(ctx, one)
		}, []string{"load elastic/fleet-server/token1 0s none"}},
		{"a displacement, at the next tick", func(ctx context.Context, w *witness) {
			w.src.after = func(context.Context, tokencache.TokenID) error { time.Sleep(2500 * time.Millisecond); return nil }
			w.ask(ctx, one)
			w.ask(ctx, two)
		}, []string{"load elastic/fleet-server/token1 2.5s none", "load elastic/fleet-server/token2 2.5s none", "displacement 1"}},
		{"an eviction", func(ctx context.Context, w *witness) {
			w.ask(ctx, one)
			claim(w.t, w.group).Evict(ctx, all(w.t, fleet))
		}, []string{"load elastic/fleet-server/token1 0s none", "eviction node [elastic/fleet-server/*] map[test:1]"}},
		{"a clearing", func(ctx context.Context, w *witness) {
			w.cache.Clear(ctx, tokencache.CauseAsked)
		}, []string{"eviction asked [] map[test:0]"}},
		{"a panic", func(ctx context.Context, w *witness) {
			w.src.after = func(context.Context, tokencache.TokenID) error { panic("supersecret") }
			w.ask(ctx, one)
		}, []string{"load elastic/fleet-server/token1 0s source_panicked with a stack"}},
		{"an overload", func(ctx context.Context, w *witness) {
			gate := newGate()
			w.src.after = gate.pass
			reading, waiting := w.begin(ctx, "x/x/reading"), w.begin(ctx, "x/x/waiting")
			w.ask(ctx, mustToken(w.t, "x/x/newcomer", "supersecret"))
			close(gate.open)
			<-reading
			<-waiting
		}, []string{"overload x/x/newcomer 0s overloaded", "load x/x/reading 0s unknown_token", "load x/x/waiting 0s unknown_token"}},
		{"a caller that gives up", func(ctx context.Context, w *witness) {
			gate := newGate()
			w.src.after = gate.pass
			reading := w.begin(ctx, "x/x/reading")
			impatient, giveUp := context.WithCancel(ctx)
			waiting := w.begin(impatient, "x/x/waiting")
			giveUp()
			<-waiting
			time.Sleep(time.Second)
			close(gate.open)
			<-reading
		}, []string{"load x/x/waiting 0s gave_up", "load x/x/reading 1s unknown_token"}},
		{"the end", func(_ context.Context, w *witness) {
			w.group.Close()
		}, []string{"eviction closed [] map[test:0]"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWitness(t, one, two)
				test.act(context.WithValue(t.Context(), ctxKey{}, "trace"), w)
				time.Sleep(2 * time.Second) // displacements are told once a second
				w.mu.Lock()
				defer w.mu.Unlock()
				if diff := cmp.Diff(test.want, w.told); diff != "" {
					t.Errorf("told (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A witness is an observer of a group with one cache, for one entry and one load at a
// time. It calls back into the group, and writes down what it is told.
type witness struct {
	t     *testing.T
	group *tokencache.Group
	cache *tokencache.Cache[record]
	src   *testSource

	mu   sync.Mutex // guards the field below
	told []string
}

func newWitness(t *testing.T, tokens ...tokencache.Token) *witness {
	w := &witness{t: t, src: newTestSource(tokens...)}
	w.group = tokencache.NewGroup(tokencache.GroupConfig{MaxQueue: 1, Observer: w.observe})
	w.cache = newCache(t, w.group, "test", w.src, tokencache.Config{MaxEntries: 1, MaxLoads: 1})
	return w
}

func (w *witness) ask(ctx context.Context, token tokencache.Token) {
	w.cache.AuthenticateToken(ctx, token)
}

// begin asks in the background, and returns once the load cannot go on.
func (w *witness) begin(ctx context.Context, name string) <-chan result {
	ch := async(ctx, w.cache, mustToken(w.t, name, "supersecret"))
	synctest.Wait()
	return ch
}

func (w *witness) observe(ctx context.Context, e tokencache.Event) {
	w.group.Stats()
	for range w.group.Caches() {
	}
	tokencache.WithMutexHeld(w.group, func() {})
	nobodys := e.Kind == tokencache.EventDisplacement || e.Cause == tokencache.CauseClosed
	if value := ctx.Value(ctxKey{}); value != "trace" && !nobodys {
		w.t.Errorf("%v: the context has the value %v", e.Kind, value)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, w.line(e))
}

func (w *witness) line(e tokencache.Event) string {
	line := ""
	switch e.Kind {
	case tokencache.EventEviction:
		line = fmt.Sprint(e.Kind, " ", e.Cause, " ", e.Selectors, " ", e.Evicted)
	case tokencache.EventDisplacement:
		line = fmt.Sprint(e.Kind, " ", e.Count)
	default:
		line = fmt.Sprint(e.Kind, " ", e.Token, " ", e.Duration, " ", e.Reason)
	}
	if noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](e.Err); ok && len(noAnswer.Stack) > 0 {
		line += " with a stack"
	}
	if e.Cache != "test" { // of a group with one cache, this one alone is evicted from
		w.t.Errorf("%s: the event's cache is %q", line, e.Cache)
	}
	if e.Kind == tokencache.EventOverload != errors.Is(e.Err, tokencache.ErrOverloaded) {
		w.t.Errorf("%s: the event's error is %v", line, e.Err)
	}
	return line
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
		claim(t, g).Evict(ctx, named(t, fleet, "token2"))
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

func TestEventKindNames(t *testing.T) {
	got := fmt.Sprint(tokencache.EventLoad, tokencache.EventEviction, tokencache.EventDisplacement, tokencache.EventOverload, tokencache.EventKind(99))
	if got != "load eviction displacement overload unknown" {
		t.Errorf("got %s", got)
	}
}

// TestEvictionOfNothing: an eviction without selectors is not told as one of everything.
func TestEvictionOfNothing(t *testing.T) {
	var events []tokencache.Event
	g := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(_ context.Context, e tokencache.Event) { events = append(events, e) }})
	c := newCache(t, g, "test", newTestSource(), tokencache.Config{})
	g.Evict(t.Context())
	c.Evict(t.Context(), tokencache.CauseAsked)
	for _, e := range events {
		if e.Selectors == nil || len(e.Selectors) > 0 {
			t.Errorf("got the selectors %#v, want none", e.Selectors)
		}
	}
	if len(events) != 2 {
		t.Errorf("got %d events, want 2", len(events))
	}
}

// TestObserverDelaysNobody: a caller that waits for a load that takes too long, or
// whose cache is closed, is told before the observer, which takes its time, of any of
// them. Closing again tells it nothing.
func TestObserverDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closings atomic.Int32
		g := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(_ context.Context, e tokencache.Event) {
			if e.Cause == tokencache.CauseClosed {
				closings.Add(1)
			}
			time.Sleep(time.Second)
		}})
		src := newTestSource()
		src.before = func(ctx context.Context, _ tokencache.TokenID) error { <-ctx.Done(); return ctx.Err() }
		c := newCache(t, g, "test", src, tokencache.Config{})
		ask := func(service string, after time.Duration) (answered *sync.WaitGroup) {
			start, wg := time.Now(), new(sync.WaitGroup)
			for i := range 5 {
				wg.Go(func() {
					c.AuthenticateToken(t.Context(), mustToken(t, fmt.Sprintf("a/%s/%d", service, i), "supersecret"))
					if took := time.Since(start); took != after {
						t.Errorf("%s: answered after %v, want %v", service, took, after)
					}
				})
			}
			synctest.Wait()
			return wg
		}
		ask("overdue", 10*time.Second).Wait()
		time.Sleep(time.Minute)
		answered := ask("closed", 0)
		go g.Close()
		answered.Wait()
		c.Close()
		g.Close()
		if err := g.Wait(t.Context()); err != nil || src.subscribers() != 0 {
			t.Errorf("Wait: got %v, and %d subscriptions are left", err, src.subscribers())
		}
		time.Sleep(time.Minute)
		if got := closings.Load(); got != 1 {
			t.Errorf("the observer was told %d times of the closing", got)
		}
	})
}

// TestWaitWhileDisplacementsAreTold: Wait waits for the observer.
func TestWaitWhileDisplacementsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := false
		g := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(_ context.Context, e tokencache.Event) {
			if e.Kind == tokencache.EventDisplacement {
				time.Sleep(time.Minute)
				told = true
			}
		}})
		one, two := mustToken(t, "a/a/1", "supersecret"), mustToken(t, "a/a/2", "supersecret")
		c := newCache(t, g, "test", newTestSource(one, two), tokencache.Config{MaxEntries: 1})
		check(t, c, one, "ok")
		check(t, c, two, "ok")
		time.Sleep(2 * time.Second)
		g.Close()
		if err := g.Wait(t.Context()); err != nil || !told {
			t.Errorf("Wait: got %v, while the observer was being told", err)
		}
	})
}

// TestNothingIsToldAfterClose: a tick that comes as the group is closed tells nothing, as
// Wait may have returned by then.
func TestNothingIsToldAfterClose(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(_ context.Context, e tokencache.Event) {
		if e.Kind == tokencache.EventDisplacement {
			t.Errorf("told of %+v", e)
		}
	}})
	one, two := mustToken(t, "a/a/1", "supersecret"), mustToken(t, "a/a/2", "supersecret")
	c := newCache(t, g, "test", newTestSource(one, two), tokencache.Config{MaxEntries: 1})
	check(t, c, one, "ok")
	check(t, c, two, "ok")
	if got := c.Stats().Displaced; got != 1 {
		t.Fatalf("%d were displaced, so the test shows nothing", got)
	}
	g.Close()
	tokencache.Tick(g)
}

// TestWaitForTheObserver: Wait ends when the observer has been told of all loads, also of
// those that were overdue or turned away.
func TestWaitForTheObserver(t *testing.T) {
	for _, test := range []struct {
		name  string
		group tokencache.GroupConfig
		cfg   tokencache.Config
	}{
		{"overdue", tokencache.GroupConfig{}, tokencache.Config{LoadTimeout: time.Second}},
		{"turned away", tokencache.GroupConfig{MaxQueue: 3}, tokencache.Config{MaxLoads: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var told, ended atomic.Int32
				test.group.Observer = func(_ context.Context, e tokencache.Event) {
					if e.Kind == tokencache.EventLoad && e.Reason != tokencache.ReasonClosed {
						told.Add(1)
						time.Sleep(time.Minute)
						ended.Add(1)
					}
				}
				src := newTestSource()
				src.before = func(ctx context.Context, _ tokencache.TokenID) error { <-ctx.Done(); return ctx.Err() }
				g := tokencache.NewGroup(test.group)
				c := newCache(t, g, "test", src, test.cfg)
				for _, name := range []string{"a/a/1", "b/b/1", "b/b/2", "b/b/3", "c/c/1"} { // the last one has b/b/3 turned away
					begin(t, c, name, "supersecret")
				}
				time.Sleep(2 * time.Second)
				g.Close()
				if err := g.Wait(t.Context()); err != nil || told.Load() == 0 || ended.Load() != told.Load() {
					t.Errorf("Wait: got %v; the observer was told of %d loads, and of %d of them is still being told", err, told.Load(), told.Load()-ended.Load())
				}
			})
		})
	}
}

// claim returns the group's claim.
func claim(t *testing.T, g *tokencache.Group) *tokencache.Claim {
	t.Helper()
	c, err := g.Claim()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Release)
	return c
}
