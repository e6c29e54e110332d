package tokencache_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestAccountsComeAndGo exercises growth and the release of cells.
func TestAccountsComeAndGo(t *testing.T) {
	p := newPair(t)
	var tokens []tokencache.Token
	for i := range 2000 {
		token := mustToken(t, fmt.Sprintf("ns%d/svc%d/t%d", i%7, i%100, i), "supersecret")
		p.fileSrc.set(token)
		p.indexSrc.set(token)
		tokens = append(tokens, token)
	}
	for range 3 {
		p.warm(t, tokens...)
		p.warm(t, tokens...)
		if got := p.fileCache.Stats().Entries; got != len(tokens) {
			t.Fatalf("got %d entries, want %d", got, len(tokens))
		}
		gone := 0
		for ns := range 7 {
			for svc := range 100 {
				account := tokencache.Account{Namespace: fmt.Sprintf("ns%d", ns), Service: fmt.Sprintf("svc%d", svc)}
				gone += p.group.Evict(context.Background(), all(t, account))["index"]
			}
		}
		if gone != len(tokens) || p.fileCache.Stats().Entries != 0 {
			t.Fatalf("got %d gone, %d left, want all %d", gone, p.fileCache.Stats().Entries, len(tokens))
		}
	}
}

// TestDisplacementWithinAnAccount: the new entry displaces the last one of its own
// account. The account's cell must outlive that, or evictions miss the new entry.
func TestDisplacementWithinAnAccount(t *testing.T) {
	a, b := mustToken(t, "elastic/fleet-server/a", "supersecret"), mustToken(t, "elastic/fleet-server/b", "supersecret")
	src := newTestSource(a, b)
	c := solo(t, src, tokencache.Config{MaxEntries: 1})
	for range 3 {
		check(t, c, a, "ok")
		check(t, c, b, "ok")
		if got := c.Evict(context.Background(), tokencache.CauseAsked, all(t, fleet)); got != 1 || c.Stats().Entries != 0 {
			t.Fatalf("evicted %d, left %d, want the one entry gone", got, c.Stats().Entries)
		}
		check(t, c, b, "ok")
		src.remove(b.ID())
		src.set(mustToken(t, "elastic/fleet-server/b", "another-secret"))
		if got := c.Evict(context.Background(), tokencache.CauseAsked, named(t, fleet, "b")); got != 1 {
			t.Fatalf("evicted %d, want 1", got)
		}
		check(t, c, b, "refused")
		src.set(b)
	}
}

// TestDisplacedWhileItsLoadRuns: an entry expires, is loaded again, and its old
// entry is pushed out meanwhile.
func TestDisplacedWhileItsLoadRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := mustToken(t, "elastic/fleet-server/a", "supersecret"), mustToken(t, "elastic/other/b", "supersecret")
		src := newTestSource(a, b)
		c := solo(t, src, tokencache.Config{MaxEntries: 1, TTL: time.Minute, Jitter: -1})
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
		p.group.Evict(context.Background(), all(t, fleet))
		check(t, p.fileCache, other, "ok") // in the new cell
		close(gate.open)
		if r := <-late; r.err != nil {
			t.Error(r.err)
		}
		check(t, p.fileCache, token, "ok")
		if got := p.fileCache.Stats().Entries; got != 2 {
			t.Errorf("got %d entries, want 2", got)
		}
		if got := p.group.Evict(context.Background(), all(t, fleet))["file"]; got != 2 {
			t.Errorf("evicted %d, want both: the late load must not have lost the new cell", got)
		}
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
		c := solo(t, src, tokencache.Config{})
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

// TestUnlinkedEntriesAreDead: a hit stands on an entry that is unlinked without
// being evicted, and does not confirm; nor if the name is evicted afterwards, when
// the entry is out of the eviction's reach.
func TestUnlinkedEntriesAreDead(t *testing.T) {
	token, renewed, other := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token1", "other-secret"), mustToken(t, "x/x/x", "supersecret")
	for _, test := range []struct {
		name   string
		stale  time.Duration
		unlink func(t *testing.T, c *tokencache.Cache[record], src *testSource, late gate)
	}{
		{"displaced", 0, func(t *testing.T, c *tokencache.Cache[record], _ *testSource, _ gate) { check(t, c, other, "ok") }},
		{"replaced", 0, func(t *testing.T, c *tokencache.Cache[record], src *testSource, _ gate) {
			src.set(renewed)
			check(t, c, renewed, "ok") // as names are hidden, the source is asked
		}},
		{"expired", 0, func(*testing.T, *tokencache.Cache[record], *testSource, gate) { time.Sleep(5 * time.Minute) }}, // until it is swept
		{"stale, and replaced", time.Hour, func(t *testing.T, c *tokencache.Cache[record], _ *testSource, _ gate) {
			time.Sleep(time.Minute)
			check(t, c, token, "ok")
		}},
		{"stale, and expired", time.Hour, func(t *testing.T, c *tokencache.Cache[record], src *testSource, _ gate) {
			time.Sleep(3 * time.Hour)
			src.remove(token.ID())
			check(t, c, token, "refused")
		}},
	} {
		for _, evicted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, evicted afterwards: %t", test.name, evicted), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					src, late := newTestSource(token, other), newGate()
					c := solo(t, src, tokencache.Config{MaxEntries: 1, TTL: time.Minute, Jitter: -1, AbsentTTL: -1, ServeStale: test.stale, LoadTimeout: time.Hour, HideNames: test.name == "replaced"})
					src.before = late.pass // what is to replace the entry, and reads later
					begin(t, c, renewed.String(), "other-secret")
					src.before = nil
					check(t, c, token, "ok")
					if tokencache.HitInSteps(c, token, func() {
						test.unlink(t, c, src, late)
						if evicted {
							c.Evict(t.Context(), tokencache.CauseAsked, named(t, fleet, "token1"))
						}
					}) {
						t.Error("the hit confirms an entry that was unlinked")
					}
				})
			})
		}
	}
}
