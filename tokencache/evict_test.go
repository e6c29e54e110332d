package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

// pair is a file and an index cache in one group, as hosts have them.
type pair struct {
	group             *tokencache.Group
	fileSrc, indexSrc *testSource

	fileCache, idxCache *tokencache.Cache[record]
}

func newPair(t *testing.T, tokens ...tokencache.Token) *pair {
	p := &pair{group: tokencache.NewGroup(tokencache.GroupConfig{})}
	p.fileSrc, p.indexSrc = newTestSource(tokens...), newTestSource(tokens...)
	p.fileCache = newCache(t, p.group, "file", p.fileSrc, tokencache.Config{})
	p.idxCache = newCache(t, p.group, "index", p.indexSrc, tokencache.Config{})
	return p
}

func (p *pair) caches() []*tokencache.Cache[record] {
	return []*tokencache.Cache[record]{p.fileCache, p.idxCache}
}

// warm makes both caches remember the tokens.
func (p *pair) warm(t *testing.T, tokens ...tokencache.Token) {
	t.Helper()
	for _, token := range tokens {
		for _, c := range p.caches() {
			check(t, c, token, "ok")
		}
	}
}

func TestEvictIsExact(t *testing.T) {
	var tokens []tokencache.Token
	for _, name := range []string{
		"elastic/fleet-server/token1", "elastic/fleet-server/token10", "elastic/fleet-server/token2",
		"elastic/fleet-server-remote/token1", "elastic/fleet/token1", "other/fleet-server/token1",
	} {
		tokens = append(tokens, mustToken(t, name, "supersecret"))
	}
	for _, test := range []struct {
		name string
		sels []tokencache.Selector
		gone []int
	}{
		{"one name", []tokencache.Selector{named(t, fleet, "token1")}, []int{0}},
		{"two names", []tokencache.Selector{named(t, fleet, "token1", "token2")}, []int{0, 2}},
		{"an unknown name too", []tokencache.Selector{named(t, fleet, "token1", "nobody")}, []int{0}},
		{"wildcard", []tokencache.Selector{all(t, fleet)}, []int{0, 1, 2}},
		{"two accounts", []tokencache.Selector{all(t, tokens[5].ID().Account), named(t, fleet, "token2")}, []int{2, 5}},
		{"a name of a wildcard before it", []tokencache.Selector{named(t, fleet, "token1"), all(t, fleet)}, []int{0, 1, 2}},
		{"two selectors that overlap", []tokencache.Selector{all(t, fleet), named(t, fleet, "token1")}, []int{0, 1, 2}},
		{"unknown account", []tokencache.Selector{all(t, tokencache.Account{Namespace: "no", Service: "body"})}, nil},
		{"zero selector", []tokencache.Selector{{}}, nil},
		{"no selector", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPair(t, tokens...)
			p.warm(t, tokens...)
			got := p.group.Evict(context.Background(), test.sels...)
			want := map[string]int{"file": len(test.gone), "index": len(test.gone)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("report (-want +got):\n%s", diff)
			}
			p.warm(t, tokens...)
			for i, token := range tokens {
				want := 1
				for _, gone := range test.gone {
					if gone == i {
						want = 2
					}
				}
				if file, index := p.fileSrc.loadsOf(token.ID()), p.indexSrc.loadsOf(token.ID()); file != want || index != want {
					t.Errorf("%v: got %d and %d source reads, want %d", token, file, index, want)
				}
			}
		})
	}
}

func TestClearOfOneCacheLeavesTheOther(t *testing.T) {
	a, b := mustToken(t, "a/b/c", "supersecret"), mustToken(t, "x/y/z", "supersecret")
	p := newPair(t, a, b)
	p.warm(t, a, b)
	if got := p.fileCache.Clear(context.Background(), tokencache.CauseAsked); got != 2 {
		t.Errorf("Clear: got %d, want 2", got)
	}
	if file, index := p.fileCache.Stats().Entries, p.idxCache.Stats().Entries; file != 0 || index != 2 {
		t.Errorf("got %d and %d entries, want 0 and 2", file, index)
	}
	p.warm(t, a, b)
	if diff := cmp.Diff(map[string]int{"file": 2, "index": 2}, p.group.Clear(context.Background())); diff != "" {
		t.Errorf("Group.Clear (-want +got):\n%s", diff)
	}
	p.warm(t, a, b)
	if got := p.idxCache.Evict(context.Background(), tokencache.CauseAsked, all(t, a.ID().Account)); got != 1 {
		t.Errorf("Cache.Evict: got %d, want 1", got)
	}
	if file, index := p.fileCache.Stats(), p.idxCache.Stats(); file.Entries != 2 || index.Entries != 1 || index.Evicted != 3 {
		t.Errorf("got %+v and %+v, want 2 entries, and 1 with 3 evicted", file, index)
	}
}

// evictions are all the ways to forget the token of the schedules below.
var evictions = []struct {
	name  string
	evict func(t *testing.T, p *pair)
}{

	{"group, by name", func(t *testing.T, p *pair) {
		p.group.Evict(context.Background(), named(t, fleet, "token1", "other"))
	}},
	{"group, wildcard", func(t *testing.T, p *pair) { p.group.Evict(context.Background(), all(t, fleet)) }},
	{"group, everything", func(t *testing.T, p *pair) { p.group.Clear(context.Background()) }},
	{"cache, by name", func(t *testing.T, p *pair) {
		p.fileCache.Evict(context.Background(), tokencache.CauseAsked, named(t, fleet, "token1"))
	}},
	{"cache, wildcard", func(t *testing.T, p *pair) {
		p.fileCache.Evict(context.Background(), tokencache.CauseAsked, all(t, fleet))
	}},
	{"cache, everything", func(t *testing.T, p *pair) { p.fileCache.Clear(context.Background(), tokencache.CauseAsked) }},
}

// TestLoadInFlightIsForgotten is the schedule that every other Go cache fails: a
// load has read the old state; the eviction returns; a new request starts; the
// load ends. Nothing is cached when the eviction comes.
func TestLoadInFlightIsForgotten(t *testing.T) {
	for _, e := range evictions {
		t.Run(e.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
				p, gate := newPair(t, token), newGate()
				p.fileSrc.after = gate.pass // it has read, and does not return

				old := async(t.Context(), p.fileCache, token)
				synctest.Wait()
				p.fileSrc.set(token) // version 2
				early := async(t.Context(), p.fileCache, token)
				synctest.Wait()
				e.evict(t, p) // does not wait for the source

				later := async(t.Context(), p.fileCache, token)
				synctest.Wait()
				if got := p.fileSrc.loadsOf(token.ID()); got != 2 {
					t.Errorf("got %d source reads, want 2: the later request must not join the old load", got)
				}
				close(gate.open)
				if r := <-old; r.err != nil || r.version != 1 {
					t.Errorf("the request before the eviction got %+v", r)
				}
				if r := <-early; r.err != nil || r.version != 1 {
					t.Errorf("the request which joined before the eviction got %+v", r)
				}
				if r := <-later; r.err != nil || r.version != 2 {
					t.Errorf("the request after the eviction got %+v, want version 2", r)
				}
				v, err := p.fileCache.AuthenticateToken(t.Context(), token)
				if err != nil || v.Record.Version != 2 {
					t.Errorf("afterwards: got %+v, %v, want version 2", v, err)
				}
				if got := p.fileCache.Stats(); got.Discarded != 1 || got.Stored != 1 || got.Hits != 1 {
					t.Errorf("got %+v, want 1 discarded, 1 stored, 1 hit", got)
				}
			})
		})
	}
}

// TestLateLoadDoesNotOverwrite lets the old load end after the new one has been
// stored.
func TestLateLoadDoesNotOverwrite(t *testing.T) {
	for _, e := range evictions {
		t.Run(e.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
				p, gate := newPair(t, token), newGate()
				p.fileSrc.after = gate.pass
				old := async(t.Context(), p.fileCache, token)
				synctest.Wait()

				e.evict(t, p)
				renewed := mustToken(t, "elastic/fleet-server/token1", "another-secret")
				p.fileSrc.set(renewed)
				second := async(t.Context(), p.fileCache, renewed)
				synctest.Wait()
				close(gate.open)
				if r := <-second; r.err != nil {
					t.Errorf("the renewed token got %+v", r)
				}
				<-old
				check(t, p.fileCache, renewed, "ok")
				check(t, p.fileCache, token, "refused")
			})
		})
	}
}

// TestSiblingLoadSurvives: what the selector does not name stays in flight, is
// joined and is stored.
func TestSiblingLoadSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sibling := mustToken(t, "elastic/fleet-server/token10", "supersecret")
		neighbour := mustToken(t, "elastic/fleet-server-remote/token1", "supersecret")
		p, gate := newPair(t, sibling, neighbour), newGate()
		p.fileSrc.after = gate.pass
		var results []<-chan result
		for _, token := range []tokencache.Token{sibling, neighbour} {
			results = append(results, async(t.Context(), p.fileCache, token))
		}
		synctest.Wait()
		p.group.Evict(context.Background(), named(t, fleet, "token1"))
		p.group.Evict(context.Background(), all(t, tokencache.Account{Namespace: "elastic", Service: "fleet"}))
		for _, token := range []tokencache.Token{sibling, neighbour} {
			results = append(results, async(t.Context(), p.fileCache, token))
		}
		synctest.Wait()
		close(gate.open)
		for _, ch := range results {
			if r := <-ch; r.err != nil {
				t.Error(r.err)
			}
		}
		if got := p.fileCache.Stats(); got.Loads != 2 || got.Stored != 2 || got.Discarded != 0 {
			t.Errorf("got %+v, want 2 loads, both stored", got)
		}
	})
}

// TestCreatedAgain is about a token that is removed and created again: the old
// secret must not work.
func TestCreatedAgain(t *testing.T) {
	old := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	p := newPair(t, old)
	p.warm(t, old)
	renewed := mustToken(t, "elastic/fleet-server/token1", "another-secret")
	for _, src := range []*testSource{p.fileSrc, p.indexSrc} {
		src.remove(old.ID())
		src.set(renewed)
	}
	p.group.Evict(context.Background(), named(t, fleet, "token1"))
	for _, c := range p.caches() {
		check(t, c, old, "refused")
		check(t, c, renewed, "ok")
	}
}

// TestEvictReportsLiveEntries: what had expired is not an entry that went, whether or
// not it is there still.
func TestEvictReportsLiveEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		short, long := mustToken(t, "elastic/fleet-server/short", "supersecret"), mustToken(t, "elastic/fleet-server/long", "supersecret")
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		file := newCache(t, g, "file", newTestSource(short), tokencache.Config{TTL: 1500 * time.Millisecond, Jitter: -1})
		index := newCache(t, g, "index", newTestSource(long), tokencache.Config{})
		check(t, file, short, "ok")
		check(t, index, long, "ok")
		time.Sleep(1600 * time.Millisecond) // between two sweeps
		if got := file.Stats().Entries; got != 1 {
			t.Fatalf("%d entries are left, so the test shows nothing", got)
		}
		want := map[string]int{"file": 0, "index": 1}
		if diff := cmp.Diff(want, g.Evict(t.Context(), all(t, fleet))); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}
		if file, index := file.Stats(), index.Stats(); file.Entries != 0 || file.Evicted != 0 || index.Entries != 0 || index.Evicted != 1 {
			t.Errorf("got %+v and %+v", file, index)
		}
	})
}

// TestEvictedBeforeItIsUnlinked: from its instant on nothing finds what an eviction
// selects, whether or not it is unlinked yet.
func TestEvictedBeforeItIsUnlinked(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	for _, sel := range []tokencache.Selector{named(t, fleet, "token1"), all(t, fleet)} {
		t.Run(sel.String(), func(t *testing.T) {
			p := newPair(t, token)
			p.warm(t, token)
			p.fileSrc.remove(token.ID())
			p.indexSrc.remove(token.ID())
			tokencache.EvictInSteps(p.group, tokencache.CauseAsked, sel, func() {}, func() {
				for _, c := range p.caches() {
					if _, _, ok := c.Remembers(token.ID()); ok {
						t.Errorf("%s remembers it", c.Name())
					}
					check(t, c, token, "refused")
				}
			})
			if got := p.fileCache.Stats(); got.Evicted != 1 || got.Entries != 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestClearUnlinksInSteps: nothing is remembered from the instant on, and what takes
// time comes afterwards, some at a time.
func TestClearUnlinksInSteps(t *testing.T) {
	const tokens = 1000
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c, err := tokencache.New(g, "test", open{}, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range tokens {
		g.AuthenticateToken(t.Context(), mustToken(t, fmt.Sprintf("a/a%d/%d", i%50, i), "supersecret"))
	}
	var linked []int
	tokencache.ClearInSteps(g, func(n int) { linked = append(linked, n) })
	if linked[0] != tokens {
		t.Errorf("%d of %d entries were unlinked before another goroutine got the mutex", tokens-linked[0], tokens)
	}
	if len(linked) < tokens/64 {
		t.Errorf("it took %d steps", len(linked))
	}
	for i := range linked[1:] {
		if linked[i]-linked[i+1] > 64 {
			t.Errorf("a step unlinked %d", linked[i]-linked[i+1])
		}
	}
	if got := tokencache.Bookkeeping(g); got != 0 || c.Stats().Entries != 0 || c.Stats().Evicted != tokens {
		t.Errorf("%d are left, got %+v", got, c.Stats())
	}
}

// TestEvictWithSeveralSelectors: each of them counts, for entries and for loads, and
// a wildcard after a named eviction from the middle finds the rest.
func TestEvictWithSeveralSelectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		c := solo(t, src, tokencache.Config{})
		var tokens []tokencache.Token
		for _, name := range []string{"a/a/1", "a/a/2", "a/a/3", "a/a/4", "a/a/5", "b/b/1", "b/b/2", "c/c/1"} {
			tokens = append(tokens, mustToken(t, name, "supersecret"))
			src.set(tokens[len(tokens)-1])
		}
		load := func() {
			for _, token := range tokens {
				check(t, c, token, "ok")
			}
		}
		a, b := tokens[0].ID().Account, tokens[5].ID().Account
		load()
		if got := c.Evict(t.Context(), tokencache.CauseAsked, named(t, a, "2", "3"), named(t, b, "1")); got != 3 {
			t.Errorf("got %d evicted, want 3", got)
		}
		if got := c.Evict(t.Context(), tokencache.CauseAsked, all(t, b), all(t, a)); got != 4 {
			t.Errorf("got %d evicted, want 4", got)
		}
		if got := c.Stats(); got.Entries != 1 || got.Evicted != 7 {
			t.Errorf("got %+v", got)
		}

		c.Clear(t.Context(), tokencache.CauseAsked)
		gate := newGate()
		src.after = gate.pass
		for _, token := range tokens {
			async(t.Context(), c, token)
		}
		synctest.Wait()
		c.Evict(t.Context(), tokencache.CauseAsked, named(t, a, "1", "2", "3"), all(t, b))
		close(gate.open)
		synctest.Wait()
		if got := c.Stats(); got.Entries != 3 || got.Discarded != 5 {
			t.Errorf("got %+v, want 3 stored and 5 not", got)
		}
		load()
	})
}

// TestEvictionAfterTurningAway: a load takes the place to wait from the only other
// load of its account, and is evicted while it reads.
func TestEvictionAfterTurningAway(t *testing.T) {
	for _, e := range evictions {
		t.Run(e.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good, bad := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/bad", "never-good")
				p, x := newPair(t, good, bad), mustToken(t, "x/x/x", "supersecret")
				src := newTestSource(good, bad, x)
				g := tokencache.NewGroup(tokencache.GroupConfig{MaxQueue: 1})
				p.group, p.fileSrc = g, src
				p.fileCache = newCache(t, g, "file", src, tokencache.Config{MaxLoads: 1})
				p.idxCache = newCache(t, g, "index", p.indexSrc, tokencache.Config{})
				check(t, p.fileCache, good, "ok")
				e.evict(t, p)
				gates := map[tokencache.TokenID]gate{good.ID(): newGate(), bad.ID(): newGate(), x.ID(): newGate()}
				src.after = func(ctx context.Context, id tokencache.TokenID) error { return gates[id].pass(ctx, id) }
				var results []<-chan result
				for _, token := range []tokencache.Token{x, bad, good} {
					results = append(results, async(t.Context(), p.fileCache, token))
					synctest.Wait()
				}
				if r := <-results[1]; !errors.Is(r.err, tokencache.ErrOverloaded) {
					t.Errorf("the secret that was never good got %v, want ErrOverloaded", r.err)
				}
				close(gates[x.ID()].open)
				synctest.Wait() // the good one has read
				src.remove(good.ID())
				e.evict(t, p)
				close(gates[good.ID()].open)
				if r := <-results[2]; r.err != nil {
					t.Error(r.err)
				}
				check(t, p.fileCache, good, "refused")
			})
		})
	}
}
