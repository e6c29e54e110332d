package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

// TestUnlinkedEntriesAreDead: a hit stands on an entry that is unlinked without
// being evicted, and does not confirm.
func TestUnlinkedEntriesAreDead(t *testing.T) {
	for _, how := range []string{"displaced", "replaced", "expired"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token, other := mustToken(t, "a/a/a", "supersecret"), mustToken(t, "a/a/b", "supersecret")
				replacement := mustToken(t, "a/a/a", "other-secret")
				src, gate := newTestSource(token, other), newGate()
				c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{MaxEntries: 1, TTL: time.Minute})
				src.before = func(ctx context.Context, id tokencache.TokenID) error {
					if how == "replaced" && src.loadsOf(id) == 0 {
						src.read(id)
						return gate.pass(ctx, id)
					}
					return nil
				}
				var replaces <-chan result
				if how == "replaced" {
					replaces = begin(t, c, "a/a/a", "other-secret")
				}
				check(t, c, token, "ok")
				confirmed := tokencache.HitInSteps(c, token, func() {
					switch how {
					case "displaced":
						check(t, c, other, "ok")
					case "replaced":
						src.set(replacement)
						close(gate.open)
						expect(t, replaces, nil)
					case "expired":
						time.Sleep(5 * time.Minute) // until it is swept
					}
				})
				if confirmed {
					t.Error("the hit confirms an entry that was unlinked")
				}
			})
		})
	}
}

// TestHitOfTheSecondCache costs no read, and works while the first source is down.
// A wrong secret for the token costs the first source one read for each AbsentTTL.
func TestHitOfTheSecondCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, wrong := mustToken(t, "a/a/a", "supersecret"), mustToken(t, "a/a/a", "wrong-secret")
		p := newPair(t)
		p.indexSrc.set(token)
		check(t, p.idxCache, token, "ok")
		p.fileSrc.fail()
		for range 20 {
			if v, err := p.group.Authenticate(t.Context(), header(token)); err != nil || v.Cache != "index" || !v.FromMemory {
				t.Fatalf("got %+v, %v", v, err)
			}
		}
		p.fileSrc.before = nil
		for round := range 3 {
			for range 20 {
				if _, err := p.group.Authenticate(t.Context(), header(wrong)); reasonOf(err) != tokencache.ReasonWrongSecret {
					t.Errorf("got %v", err)
				}
			}
			if got := p.fileSrc.loadsOf(token.ID()); got != round+1 {
				t.Errorf("the first source was read %d times, want %d", got, round+1)
			}
			time.Sleep(5 * time.Second)
		}
		if got := p.indexSrc.loadsOf(token.ID()); got != 1 {
			t.Errorf("the second source was read %d times, want 1", got)
		}
	})
}

// TestGoroutinesAreTheLoads: also where the source derives contexts.
func TestGoroutinesAreTheLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const loads = 50
		src, gate := newTestSource(), newGate()
		src.before = func(ctx context.Context, id tokencache.TokenID) error {
			for range 5 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithCancel(context.WithValue(ctx, ctxKey{}, "of the source"))
				defer cancel()
			}
			return gate.pass(ctx, id)
		}
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{MaxLoads: 1000})
		before := runtime.NumGoroutine()
		for i := range loads {
			async(t.Context(), c, mustToken(t, fmt.Sprintf("a/a/%d", i), "supersecret"))
		}
		synctest.Wait()
		if got := runtime.NumGoroutine() - before; got > 2*loads+loads/2 {
			t.Errorf("%d goroutines for %d callers and as many loads", got, loads)
		}
		close(gate.open)
	})
}

func TestEndlessTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "a/a/a", "supersecret")
		src := newTestSource(token)
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{TTL: math.MaxInt64, Jitter: -1})
		check(t, c, token, "ok")
		for range 3 {
			time.Sleep(24 * time.Hour)
			check(t, c, token, "ok")
		}
		if _, until, ok := c.Remembers(token.ID()); !ok || time.Until(until) < 100*365*24*time.Hour {
			t.Errorf("remembered until %v, %t", until, ok)
		}
		if got := c.Evict(t.Context(), tokencache.CauseAsked, all(t, token.ID().Account)); got != 1 {
			t.Errorf("got %d evicted, want 1", got)
		}
		if got := src.loadsOf(token.ID()); got != 1 {
			t.Errorf("got %d reads", got)
		}
	})
}

func TestLoadTimeoutHasAnEnd(t *testing.T) {
	for _, d := range []time.Duration{24*time.Hour + 1, math.MaxInt64} {
		if _, err := tokencache.New(tokencache.NewGroup(tokencache.GroupConfig{}), "test", newTestSource(), tokencache.Config{LoadTimeout: d}); err == nil {
			t.Errorf("LoadTimeout %v is accepted", d)
		}
	}
	newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", newTestSource(), tokencache.Config{LoadTimeout: 24 * time.Hour})
}

// TestMoveWhileAsked: the token moves from the index to the file after the file was
// asked.
func TestMoveWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		p, gate := newPair(t), newGate()
		p.indexSrc.set(token)
		p.indexSrc.before = gate.pass
		done := make(chan error)
		go func() { _, err := p.group.AuthenticateToken(t.Context(), token); done <- err }()
		synctest.Wait()
		p.fileSrc.set(token)
		p.fileSrc.caches.Evict(t.Context(), tokencache.CauseSource, named(t, fleet, "token1"))
		p.indexSrc.remove(token.ID())
		p.indexSrc.caches.Evict(t.Context(), tokencache.CauseSource, named(t, fleet, "token1"))
		close(gate.open)
		if err := <-done; err != nil {
			t.Errorf("got %v for a token that was held all the time", err)
		}
	})
}

func TestGroupsAndCachesPrintNoKey(t *testing.T) {
	p := newPair(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
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
	g.Close()
	if _, err := g.AuthenticateToken(t.Context(), token); !errors.Is(err, tokencache.ErrClosed) {
		t.Errorf("a closed group: got %v", err)
	}
	src := newTestSource()
	if _, err := tokencache.New(g, "test", src, tokencache.Config{}); !errors.Is(err, tokencache.ErrClosed) || src.subscribers() != 0 {
		t.Errorf("New on a closed group: got %v, with %d subscriptions", err, src.subscribers())
	}
}

// A reentrant context asks the group.
type reentrant struct {
	context.Context
	group *tokencache.Group
}

func (r reentrant) Err() error { r.group.Stats(); return r.Context.Err() }

func (r reentrant) Done() <-chan struct{} { r.group.Stats(); return r.Context.Done() }

func (r reentrant) Value(key any) any { r.group.Stats(); return r.Context.Value(key) }

func TestContextsOfAllKinds(t *testing.T) {
	token := mustToken(t, "a/a/a", "supersecret")
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c := newCache(t, g, "test", newTestSource(token), tokencache.Config{MaxLoads: 1})
	for range 3 {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, "context is nil") {
					t.Errorf("a nil context: got the panic %q", got)
				}
			}()
			var none context.Context
			c.AuthenticateToken(none, token)
		}()
	}
	if _, err := c.AuthenticateToken(reentrant{t.Context(), g}, token); err != nil {
		t.Error(err)
	}
	if got := c.Stats(); got.Loads != 1 || got.Misses != 1 {
		t.Errorf("got %+v, want that a nil context has taken nothing", got)
	}
}

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
		t.Errorf("%d of %d were unlinked before the mutex could be had", tokens-linked[0], tokens)
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

// TestTheTableGrows while it is read: nothing that was stored is loaded again.
func TestTheTableGrows(t *testing.T) {
	const tokens = 3000
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c, err := tokencache.New(g, "test", open{}, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	token := func(i int) tokencache.Token {
		return mustToken(t, fmt.Sprintf("a/a/%d", i), "supersecret")
	}
	var wg sync.WaitGroup
	for i := range tokens {
		g.AuthenticateToken(t.Context(), token(i))
		if i%500 == 0 {
			wg.Go(func() {
				for k := range i {
					if v, err := g.Authenticate(t.Context(), header(token(k))); err != nil || !v.FromMemory {
						t.Errorf("%d of %d: got %+v, %v", k, i, v, err)
					}
				}
			})
		}
	}
	wg.Wait()
	for i := range tokens {
		if !tokencache.HitInSteps(c, token(i), func() {}) {
			t.Errorf("%d is not found", i)
		}
	}
	if got := c.Stats(); got.Loads != tokens || got.Entries != tokens {
		t.Errorf("got %+v", got)
	}
}

// TestSecretsOfManyLengths: more than a hit tries are found all the same; lengths
// that are not in use any more make room for others.
func TestSecretsOfManyLengths(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c, err := tokencache.New(g, "test", open{}, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		for i := range 12 {
			token := mustToken(t, fmt.Sprintf("a/a/%d", i), strings.Repeat("s", 10+i))
			for k := range 3 {
				if v, err := g.Authenticate(t.Context(), header(token)); err != nil || v.FromMemory != (k > 0) {
					t.Errorf("%d bytes: got %+v, %v", 10+i, v, err)
				}
			}
		}
		g.Clear(t.Context(), tokencache.CauseAsked)
	}
	token := mustToken(t, "a/a/a", strings.Repeat("s", 100))
	g.AuthenticateToken(t.Context(), token)
	tokencache.WithMutexHeld(g, func() {
		if _, err := g.Authenticate(t.Context(), header(token)); err != nil {
			t.Error(err)
		}
	})
}

// slowPolicy is S3-FIFO as the paper has it, on slices.
func slowPolicy(capacity int, keys []uint32) (hits []bool) {
	var probation, main []uint32
	used, ghosts := map[uint32]bool{}, map[uint32]bool{}
	for _, key := range keys {
		hit := slices.Contains(probation, key) || slices.Contains(main, key)
		hits = append(hits, hit)
		if hit {
			used[key] = true
			continue
		}
		for len(probation)+len(main) == capacity {
			from := &main
			if len(probation) > max(1, capacity/20) || len(main) == 0 {
				from = &probation
			}
			first := (*from)[0]
			*from = (*from)[1:]
			switch {
			case used[first]:
				used[first] = false
				main = append(main, first)
			case from == &probation:
				ghosts[first] = true
			}
		}
		if ghosts[key] {
			main = append(main, key)
		} else {
			probation = append(probation, key)
		}
	}
	return hits
}

func TestPolicyAgainstItsTwin(t *testing.T) {
	for _, capacity := range []int{1, 2, 3, 10, 40, 60} {
		random := rand.New(rand.NewPCG(1, uint64(capacity)))
		var keys []uint32
		for i := range 5000 {
			keys = append(keys, 1+uint32(min(random.IntN(63), random.IntN(63))+i/1000)%63) // so few that no ghost takes another's place
		}
		if diff := cmp.Diff(slowPolicy(capacity, keys), tokencache.PolicyHits(capacity, keys)); diff != "" {
			t.Errorf("capacity %d: the policies differ", capacity)
		}
	}
}
