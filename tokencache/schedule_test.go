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

// The schedules of evictions that random histories rarely hit, one by one. Others
// stand beside the tests of what they are about: hit_test.go, load_test.go and
// authenticate_test.go have most of them.

// TestEvictionBetweenLookupAndCheck: a hit has found its entry, and an eviction
// happens before it looks at the mark.
func TestEvictionBetweenLookupAndCheck(t *testing.T) {
	for _, e := range evictions {
		t.Run(e.name, func(t *testing.T) {
			token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
			p := newPair(t, token)
			p.warm(t, token)
			if !tokencache.HitInSteps(p.fileCache, token, func() {}) {
				t.Error("no hit without an eviction")
			}
			if tokencache.HitInSteps(p.fileCache, token, func() { e.evict(t, p) }) {
				t.Error("a hit with the eviction in between")
			}
		})
	}
}

// TestEvictionIsOneInstant stops an eviction before its instant, when every entry
// is marked already, and looks at all of them from another goroutine: nobody sees
// any effect. After the instant everybody sees all of it, though nothing has been
// unlinked yet.
func TestEvictionIsOneInstant(t *testing.T) {
	var tokens []tokencache.Token
	for i := range 5 {
		tokens = append(tokens, mustToken(t, fmt.Sprintf("elastic/fleet-server/t%d", i), "supersecret"))
	}
	p := newPair(t, tokens...)
	p.warm(t, tokens...)
	look := func() (hits int) {
		var wg sync.WaitGroup
		wg.Go(func() {
			for _, c := range p.caches() {
				for _, token := range tokens {
					if tokencache.HitInSteps(c, token, func() {}) {
						hits++
					}
				}
			}
		})
		wg.Wait()
		return hits
	}
	var before, after int
	tokencache.EvictInSteps(p.group, tokencache.CauseAsked, all(t, fleet), func() { before = look() }, func() { after = look() })
	if before != 10 || after != 0 {
		t.Errorf("got %d hits before the instant, %d after it, want 10 and 0", before, after)
	}
}

// TestOverlappingEvictions: two evictions overlap, by one name and by another,
// while loads of both names are in flight.
func TestOverlappingEvictions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mustToken(t, "elastic/fleet-server/a", "supersecret"), mustToken(t, "elastic/fleet-server/b", "supersecret")
		p, gate := newPair(t, a, b), newGate()
		p.fileSrc.after = gate.pass
		var results []<-chan result
		for _, token := range []tokencache.Token{a, b} {
			results = append(results, async(t.Context(), p.fileCache, token))
		}
		synctest.Wait()
		p.fileSrc.set(a)
		p.fileSrc.set(b)
		var wg sync.WaitGroup
		for _, sel := range []tokencache.Selector{named(t, fleet, "a"), named(t, fleet, "b"), named(t, fleet, "a", "b"), all(t, fleet)} {
			wg.Go(func() { p.group.Evict(context.Background(), sel) })
		}
		wg.Wait()
		for _, token := range []tokencache.Token{a, b} {
			results = append(results, async(t.Context(), p.fileCache, token))
		}
		synctest.Wait()
		close(gate.open)
		for i, want := range []int{1, 1, 2, 2} {
			if r := <-results[i]; r.err != nil || r.version != want {
				t.Errorf("request %d: got %+v, want version %d", i, r, want)
			}
		}
		if got := p.fileCache.Stats(); got.Discarded != 2 || got.Entries != 2 {
			t.Errorf("got %+v, want 2 loads discarded, 2 entries", got)
		}
	})
}

// TestLeaderCancelledThenEvicted: the caller that started the load has gone, nobody
// waits for it any more, and an eviction comes before it ends.
func TestLeaderCancelledThenEvicted(t *testing.T) {
	for _, e := range evictions {
		t.Run(e.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
				p, gate := newPair(t, token), newGate()
				p.fileSrc.after = gate.pass
				ctx, cancel := context.WithCancel(t.Context())
				leader := async(ctx, p.fileCache, token)
				synctest.Wait()
				cancel()
				if r := <-leader; !errors.Is(r.err, context.Canceled) {
					t.Errorf("the leader got %+v", r)
				}
				p.fileSrc.remove(token.ID())
				e.evict(t, p)
				close(gate.open)
				synctest.Wait()
				if got := p.fileCache.Stats(); got.Entries != 0 || got.Discarded != 1 {
					t.Errorf("got %+v, want the load discarded", got)
				}
				check(t, p.fileCache, token, "refused")
			})
		})
	}
}

// TestClearWhileLoadsRun: everything is cleared while loads of many accounts are in
// flight; none of them is stored.
func TestClearWhileLoadsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, gate := newPair(t), newGate()
		p.fileSrc.after = gate.pass
		var results []<-chan result
		for i := range 50 {
			token := mustToken(t, fmt.Sprintf("ns/svc%d/token", i), "supersecret")
			p.fileSrc.set(token)
			results = append(results, async(t.Context(), p.fileCache, token))
		}
		synctest.Wait()
		p.fileCache.Clear(context.Background(), tokencache.CauseAsked)
		close(gate.open)
		for _, ch := range results {
			if r := <-ch; r.err != nil {
				t.Error(r.err)
			}
		}
		if got := p.fileCache.Stats(); got.Entries != 0 || got.Discarded != 50 || got.Loading != 0 {
			t.Errorf("got %+v, want 50 loads discarded", got)
		}
	})
}

// TestEvictionWaitsForNoSource: an eviction returns while the sources of its
// tokens, and of others, hang.
func TestEvictionWaitsForNoSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, other := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "a/b/c", "supersecret")
		p, gate := newPair(t, token, other), newGate()
		p.fileSrc.before = gate.pass
		async(t.Context(), p.fileCache, token)
		async(t.Context(), p.fileCache, other)
		synctest.Wait()
		start := time.Now()
		p.group.Evict(context.Background(), all(t, fleet))
		p.group.Clear(context.Background())
		p.fileCache.Clear(context.Background(), tokencache.CauseAsked)
		if got := time.Since(start); got != 0 {
			t.Errorf("the evictions waited for %v", got)
		}
		close(gate.open)
	})
}

// TestListIsOneInstant is TestEvictionIsOneInstant by the halves of a list of names:
// what is marked first does not go before the rest.
func TestListIsOneInstant(t *testing.T) {
	a, b := mustToken(t, "elastic/fleet-server/a", "supersecret"), mustToken(t, "elastic/fleet-server/b", "supersecret")
	p := newPair(t, a, b)
	p.warm(t, a, b)
	look := func() (hits int) {
		for _, c := range p.caches() {
			for _, token := range []tokencache.Token{a, b} {
				if tokencache.HitInSteps(c, token, func() {}) {
					hits++
				}
			}
		}
		return hits
	}
	var before, after int
	tokencache.EvictInSteps(p.group, tokencache.CauseAsked, named(t, fleet, "a", "b"), func() { before = look() }, func() { after = look() })
	if before != 4 || after != 0 {
		t.Errorf("got %d hits before the instant, %d after it, want 4 and 0", before, after)
	}
}

// TestChangesAreCountedAfterTheirInstant: a reader that finds a change of a source counted
// does not find what it has evicted: memory would refuse a token that has moved.
func TestChangesAreCountedAfterTheirInstant(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	c := solo(t, newTestSource(token), tokencache.Config{})
	sels := []tokencache.Selector{named(t, fleet, "token1")}
	for i := range 2000 { // to note them takes its time, and nothing may be seen meanwhile
		sels = append(sels, all(t, tokencache.Account{Namespace: "other", Service: fmt.Sprint("a", i)}))
	}
	for began := time.Now(); time.Since(began) < time.Second/2; {
		check(t, c, token, "ok")
		wait, waiting, seen := tokencache.WatchChanges(c, token), make(chan struct{}), make(chan bool)
		go func() {
			close(waiting)
			seen <- wait()
		}()
		<-waiting
		c.Evict(t.Context(), tokencache.CauseSource, sels...)
		if <-seen {
			t.Fatal("a change was counted before its instant")
		}
	}
}

// TestMoveToACacheThatWasAsked: a token moves to a source that has refused it, while the
// next one is asked. The first is asked again, whichever way it tells of its change.
func TestMoveToACacheThatWasAsked(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	for name, tell := range map[string]func(*testing.T, *testSource){
		"of the name": func(t *testing.T, src *testSource) {
			src.caches.Evict(t.Context(), tokencache.CauseSource, named(t, fleet, "token1"))
		},
		"of the account": func(t *testing.T, src *testSource) {
			src.caches.Evict(t.Context(), tokencache.CauseSource, all(t, fleet))
		},
		"of everything": func(t *testing.T, src *testSource) { src.caches.Clear(t.Context(), tokencache.CauseState) },
	} {
		t.Run(name, func(t *testing.T) {
			g := tokencache.NewGroup(tokencache.GroupConfig{})
			defer g.Close()
			first, second := newTestSource(), newTestSource(token)
			newCache(t, g, "first", first, tokencache.Config{})
			newCache(t, g, "second", second, tokencache.Config{})
			second.before = func(context.Context, tokencache.TokenID) error {
				second.before = nil
				second.remove(token.ID())
				first.set(token)
				tell(t, first)
				return nil
			}
			if v, err := g.Authenticate(t.Context(), header(token)); err != nil || v.Cache != "first" {
				t.Errorf("got %v, %v, want it confirmed by the first", v, err)
			}
		})
	}
}
