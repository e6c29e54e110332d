package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// What random changes of the code once got past the tests, each by name.

func TestSeveralLoadsOverdueAtOneInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		src.before = func(ctx context.Context, _ tokencache.TokenID) error { <-ctx.Done(); return ctx.Err() }
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{LoadTimeout: time.Second})
		var results []<-chan result
		start := time.Now()
		for i := range 5 {
			results = append(results, begin(t, c, fmt.Sprintf("a/a/%d", i), "supersecret"))
		}
		for _, ch := range results {
			expect(t, ch, context.DeadlineExceeded)
		}
		if got := time.Since(start); got != time.Second {
			t.Errorf("took %v", got)
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
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
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

func TestALoadThatWaitedTooLongComputesNoHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t, "a/a/0", "a/a/1", "a/a/2")
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Second / 2})
		c := newCache(t, g, "test", src, tokencache.Config{})
		first := begin(t, c, "a/a/0", "supersecret")
		expect(t, begin(t, c, "a/a/1", "supersecret"), tokencache.ErrOverloaded)
		expect(t, first, nil)
		if got := src.hashed(); len(got) != 1 {
			t.Errorf("computed the hashes of %v", got)
		}
		first = begin(t, c, "a/a/1", "supersecret")
		expect(t, begin(t, c, "a/a/2", "supersecret"), tokencache.ErrOverloaded) // the bound is as it was
		expect(t, first, nil)
	})
}

func TestDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t)
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{})
		var results []<-chan result
		for i := range 3 * runtime.GOMAXPROCS(0) {
			name := fmt.Sprintf("a/a/%d", i)
			src.set(mustToken(t, name, "supersecret"))
			results = append(results, async(t.Context(), c, mustToken(t, name, "supersecret")))
		}
		synctest.Wait()
		if got := g.Stats().Hashing; got != runtime.GOMAXPROCS(0) {
			t.Errorf("MaxHashing: got %d at once, want GOMAXPROCS", got)
		}
		for _, ch := range results {
			expect(t, ch, nil)
		}

		_, err := g.AuthenticateToken(t.Context(), mustToken(t, "a/a/long", strings.Repeat("s", 1025)))
		if reasonOf(err) != tokencache.ReasonSecretLength {
			t.Errorf("MaxSecret: got %v for 1025 bytes", err)
		}
		_, err = g.AuthenticateToken(t.Context(), mustToken(t, "a/a/long", strings.Repeat("s", 1024)))
		if reasonOf(err) != tokencache.ReasonUnknownToken {
			t.Errorf("MaxSecret: got %v for 1024 bytes", err)
		}

		src.before = func(ctx context.Context, _ tokencache.TokenID) error { <-ctx.Done(); return ctx.Err() }
		start := time.Now()
		results = nil
		for i := range 128 + 2048 {
			results = append(results, async(t.Context(), c, mustToken(t, fmt.Sprintf("b/b/%d", i), "supersecret")))
		}
		synctest.Wait()
		if got := c.Stats(); got.Loading != 128 || got.Waiting != 2048 {
			t.Errorf("MaxLoads, MaxQueue: got %d and %d of one account, want 128 and 2048", got.Loading, got.Waiting)
		}
		expect(t, begin(t, c, "b/b/more", "supersecret"), tokencache.ErrOverloaded)
		timedOut := 0
		for _, ch := range results {
			if r := <-ch; errors.Is(r.err, context.DeadlineExceeded) {
				timedOut++
			} else if !errors.Is(r.err, tokencache.ErrOverloaded) {
				t.Error(r.err)
			}
			if got := time.Since(start); got != 10*time.Second && got != 20*time.Second {
				t.Fatalf("LoadTimeout, MaxWait: an answer after %v", got)
			}
		}
		if timedOut < 128 {
			t.Errorf("LoadTimeout: %d timed out", timedOut)
		}
	})
}

// TestNothingIsLeft: what is kept for each account goes with its last load or entry.
func TestNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{AbsentTTL: -1, LoadTimeout: time.Second, MaxBackoff: -1})
		hang := false
		src.before = func(ctx context.Context, id tokencache.TokenID) error {
			switch {
			case id.Name == "fails":
				return errOutage
			case id.Name == "hangs" || hang:
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		for i := range 200 {
			for _, name := range []string{"refused", "fails", "hangs"} {
				async(t.Context(), c, mustToken(t, fmt.Sprintf("a/a%d/%s", i, name), "supersecret"))
			}
		}
		time.Sleep(time.Minute)
		if got := tokencache.Bookkeeping(g); got != 0 {
			t.Errorf("%d accounts are left after refusals, errors and timeouts", got)
		}
		hang = true
		for i := range 200 {
			async(t.Context(), c, mustToken(t, fmt.Sprintf("a/a%d/evicted", i), "supersecret"))
		}
		synctest.Wait()
		if got := tokencache.Bookkeeping(g); got < 200 {
			t.Errorf("%d accounts are known, want 200", got)
		}
		for i := range 200 {
			a := tokencache.Account{Namespace: "a", Service: fmt.Sprintf("a%d", i)}
			if i%2 == 0 {
				g.Evict(t.Context(), tokencache.CauseAsked, all(t, a))
			} else {
				g.Evict(t.Context(), tokencache.CauseAsked, named(t, a, "evicted"))
			}
		}
		time.Sleep(time.Minute)
		if got := tokencache.Bookkeeping(g); got != 0 {
			t.Errorf("%d accounts are left after evicted loads", got)
		}
	})
}

// TestUseCountsAndEnds: a hit by header keeps an entry, and only for a while.
func TestUseCountsAndEnds(t *testing.T) {
	src := newTestSource()
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{MaxEntries: 10})
	hot := mustToken(t, "a/a/hot", "supersecret")
	src.set(hot)
	fill := func(from, to int, use bool) {
		for i := from; i < to; i++ {
			token := mustToken(t, fmt.Sprintf("a/a/%d", i), "supersecret")
			src.set(token)
			check(t, c, token, "ok")
			check(t, c, token, "ok")
			if use {
				if v, err := c.Authenticate(t.Context(), header(hot)); err != nil || i > from && !v.FromMemory {
					t.Fatalf("%d: got %+v, %v", i, v, err)
				}
			}
		}
	}
	fill(0, 100, true)
	fill(100, 200, false)
	if _, _, ok := c.Remembers(hot.ID()); ok {
		t.Error("it is still remembered, though it is not used any more")
	}
}

func TestDigestsAreKeyed(t *testing.T) {
	token := mustToken(t, "a/a/a", "supersecret")
	g, h := tokencache.NewGroup(tokencache.GroupConfig{}), tokencache.NewGroup(tokencache.GroupConfig{})
	first, again, other := tokencache.DigestOf(g, token), tokencache.DigestOf(g, token), tokencache.DigestOf(h, token)
	if first != again || first == other {
		t.Error("the digest does not depend on the group's key alone")
	}
}

func TestDigestsAreComparedInFull(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	a := tokencache.DigestOf(g, mustToken(t, "a/a/a", "supersecret"))
	for i := range a {
		for bit := range 8 {
			b := a
			b[i] ^= 1 << bit
			if tokencache.EqualDigests(a, b) {
				t.Errorf("bit %d of byte %d is not compared", bit, i)
			}
		}
	}
	if !tokencache.EqualDigests(a, a) {
		t.Error("a digest is not equal to itself")
	}
}

// TestEvictedWhileAnEarlierSourceIsAsked: of three caches all are asked, and what
// the last one held then does not matter once it was evicted.
func TestEvictedWhileAnEarlierSourceIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		first, second, third := newTestSource(), newTestSource(), newTestSource(token)
		newCache(t, g, "first", first, tokencache.Config{})
		newCache(t, g, "second", second, tokencache.Config{})
		c := newCache(t, g, "third", third, tokencache.Config{})
		check(t, c, token, "ok")
		v, err := g.AuthenticateToken(t.Context(), token)
		if err != nil || v.Cache != "third" || first.loadsOf(token.ID())+second.loadsOf(token.ID()) != 0 {
			t.Errorf("got %+v, %v", v, err)
		}
		third.remove(token.ID())
		gate := newGate()
		first.before = gate.pass
		other := mustToken(t, "elastic/fleet-server/token1", "other-secret")
		done := make(chan error)
		go func() { _, err := g.AuthenticateToken(t.Context(), other); done <- err }()
		synctest.Wait()
		g.Evict(t.Context(), tokencache.CauseAsked, all(t, fleet))
		close(gate.open)
		if err := <-done; reasonOf(err) != tokencache.ReasonUnknownToken {
			t.Errorf("got %v, want an unknown token", err)
		}
		if first.loadsOf(token.ID()) != 1 || second.loadsOf(token.ID()) != 1 || third.loadsOf(token.ID()) != 2 {
			t.Error("not every source was asked")
		}
	})
}

// TestExpiredEntriesAreSwept: nobody asks for them, in either cache, and again after
// the group was empty.
func TestExpiredEntriesAreSwept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		var tokens []tokencache.Token
		for i := range 200 {
			tokens = append(tokens, mustToken(t, fmt.Sprintf("a/a%d/t", i), "supersecret"))
		}
		first := newCache(t, g, "first", newTestSource(tokens...), tokencache.Config{TTL: time.Minute})
		second := newCache(t, g, "second", newTestSource(tokens...), tokencache.Config{TTL: 2 * time.Minute})
		for round := range 2 {
			for _, token := range tokens {
				check(t, first, token, "ok")
				check(t, second, token, "ok")
			}
			time.Sleep(4 * time.Minute)
			for _, c := range []*tokencache.Cache[record]{first, second} {
				if got := c.Stats(); got.Entries != 0 || got.Expired != uint64(200*(round+1)) {
					t.Errorf("round %d, %s: got %+v", round, c.Name(), got)
				}
			}
			if got := tokencache.Bookkeeping(g); got != 0 {
				t.Errorf("%d accounts are left", got)
			}
		}
	})
}

// A beside returns an answer that holds the token, beside an error.
type beside struct{ *testSource }

func (b beside) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	a, _ := b.testSource.Lookup(ctx, id)
	return a, errOutage
}

func TestAnErrorBesideAnAnswerIsAnError(t *testing.T) {
	token := mustToken(t, "a/a/a", "supersecret")
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", beside{newTestSource(token)}, tokencache.Config{})
	if _, err := c.AuthenticateToken(t.Context(), token); !errors.Is(err, errOutage) {
		t.Errorf("got %v, want the outage", err)
	}
}

// TestEvictWithSeveralSelectors: each of them counts, for entries and for loads, and
// a wildcard after a named eviction from the middle finds the rest.
func TestEvictWithSeveralSelectors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
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

func TestTokenPrintsItsName(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	for _, verb := range []string{"%v", "%+v", "%s"} {
		if got := fmt.Sprintf(verb, token); got != "elastic/fleet-server/token1" {
			t.Errorf("%s prints %q", verb, got)
		}
	}
	if text, err := token.MarshalText(); err != nil || string(text) != "elastic/fleet-server/token1" {
		t.Errorf("MarshalText returns %q, %v", text, err)
	}
}
