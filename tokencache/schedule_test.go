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

// The schedules that random histories rarely hit, one by one. More of them are in
// group_test.go (loads in flight) and flight_test.go (wrong secrets, overdue
// loads).

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
			wg.Go(func() { p.group.Evict(context.Background(), tokencache.CauseAsked, sel) })
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

// TestDisplacedWhileItsLoadRuns: an entry expires, is loaded again, and its old
// entry is pushed out meanwhile.
func TestDisplacedWhileItsLoadRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mustToken(t, "elastic/fleet-server/a", "supersecret"), mustToken(t, "elastic/other/b", "supersecret")
		src := newTestSource(a, b)
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{MaxEntries: 1, TTL: time.Minute, Jitter: -1})
		check(t, c, a, "ok")
		gate := newGate()
		src.after = func(ctx context.Context, id tokencache.TokenID) error {
			if id == a.ID() {
				return gate.pass(ctx, id)
			}
			return nil
		}
		time.Sleep(time.Minute)
		again := async(t.Context(), c, a) // in flight
		synctest.Wait()
		check(t, c, b, "ok") // takes the only place
		if got := c.Evict(context.Background(), tokencache.CauseAsked, all(t, fleet)); got != 0 {
			t.Errorf("evicted %d, want nothing but the load", got)
		}
		close(gate.open)
		if r := <-again; r.err != nil {
			t.Error(r.err)
		}
		if got := c.Stats(); got.Entries != 1 || got.Discarded != 1 {
			t.Errorf("got %+v, want b alone, and a's load discarded", got)
		}
		if b := c.Evict(context.Background(), tokencache.CauseAsked, all(t, b.ID().Account)); b != 1 {
			t.Errorf("evicted %d of the other account, want 1", b)
		}
	})
}

// TestCellOutlivesItsLoads: the account holds nothing but a load; an eviction takes
// that off the register and frees the cell; the account comes to life again in a
// new cell; then the late load ends.
func TestCellOutlivesItsLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		other := mustToken(t, "elastic/fleet-server/token2", "supersecret")
		p, gate := newPair(t, token, other), newGate()
		p.fileSrc.after = func(ctx context.Context, id tokencache.TokenID) error {
			if id == token.ID() {
				return gate.pass(ctx, id)
			}
			return nil
		}
		late := async(t.Context(), p.fileCache, token)
		synctest.Wait()
		p.group.Evict(context.Background(), tokencache.CauseAsked, all(t, fleet))
		check(t, p.fileCache, other, "ok") // in the new cell
		close(gate.open)
		if r := <-late; r.err != nil {
			t.Error(r.err)
		}
		check(t, p.fileCache, token, "ok")
		if got := p.fileCache.Stats().Entries; got != 2 {
			t.Errorf("got %d entries, want 2", got)
		}
		if got := p.group.Evict(context.Background(), tokencache.CauseAsked, all(t, fleet))["file"]; got != 2 {
			t.Errorf("evicted %d, want both: the late load must not have lost the new cell", got)
		}
	})
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
		p.group.Evict(context.Background(), tokencache.CauseAsked, all(t, fleet))
		p.group.Clear(context.Background(), tokencache.CauseAsked)
		p.fileCache.Clear(context.Background(), tokencache.CauseAsked)
		if got := time.Since(start); got != 0 {
			t.Errorf("the evictions waited for %v", got)
		}
		close(gate.open)
	})
}

// TestTwoSecretsOfOneNameAreOneEntry: two loads of one name, with the secret from
// before a change and the one from after it, both succeed. The later takes the
// place of the earlier; it must not be found beneath it.
func TestTwoSecretsOfOneNameAreOneEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		renewed := mustToken(t, "elastic/fleet-server/token1", "another-secret")
		src := newTestSource(old)
		oldGate, newGate := newGate(), newGate()
		src.after = func(ctx context.Context, id tokencache.TokenID) error {
			if src.loadsOf(id) == 1 {
				return oldGate.pass(ctx, id)
			}
			return newGate.pass(ctx, id)
		}
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
		first := async(t.Context(), c, old)
		synctest.Wait()
		src.set(renewed) // and nobody tells the cache
		second := async(t.Context(), c, renewed)
		synctest.Wait()
		close(oldGate.open)
		if r := <-first; r.err != nil {
			t.Error(r.err)
		}
		close(newGate.open)
		if r := <-second; r.err != nil {
			t.Error(r.err)
		}
		if got := c.Stats(); got.Stored != 2 || got.Entries != 1 {
			t.Errorf("got %+v, want 2 stored in turn, 1 entry", got)
		}
		check(t, c, renewed, "ok")
		check(t, c, old, "refused")
		if got := c.Evict(context.Background(), tokencache.CauseAsked, all(t, fleet)); got != 1 || c.Stats().Entries != 0 {
			t.Errorf("evicted %d, left %d", got, c.Stats().Entries)
		}
	})
}
