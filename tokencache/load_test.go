package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

func TestOneLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers = 1000
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src, gate := newTestSource(token), newGate()
		src.before = gate.pass
		c := solo(t, src, tokencache.Config{})
		var results []<-chan result
		for range callers {
			results = append(results, async(t.Context(), c, token))
		}
		synctest.Wait()
		close(gate.open)
		for _, ch := range results {
			if r := <-ch; r.err != nil || r.version != 1 {
				t.Errorf("got %+v", r)
			}
		}
		if got := src.loadsOf(token.ID()); got != 1 {
			t.Errorf("got %d source reads, want 1", got)
		}
		if got := c.Stats(); got.Misses != callers || got.Loads != 1 {
			t.Errorf("got %+v, want %d misses and 1 load", got, callers)
		}
	})
}

// TestNoSecondLoad: callers that come while a load ends, on several processors, find
// the load or what it has stored.
func TestNoSecondLoad(t *testing.T) {
	src := newTestSource()
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c := newCache(t, g, "test", src, tokencache.Config{})
	for i := range 500 {
		token := mustToken(t, fmt.Sprintf("a/s%d/t", i%7), fmt.Sprintf("supersecret-%d", i))
		src.set(token)
		c.Clear(t.Context(), tokencache.CauseAsked)
		reads := src.loadsOf(token.ID())
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				for range 5 {
					if _, err := c.AuthenticateToken(t.Context(), token); err != nil {
						t.Error(err)
					}
				}
			})
		}
		callers.Wait()
		if got := src.loadsOf(token.ID()) - reads; got != 1 {
			t.Errorf("token %d: got %d source reads, want 1", i, got)
		}
	}
}

func TestCallerThatGivesUpDisturbsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src, gate := newTestSource(token), newGate()
		src.before = gate.pass
		c := solo(t, src, tokencache.Config{})

		ctx, cancel := context.WithCancel(t.Context())
		leader := async(ctx, c, token)
		synctest.Wait()
		follower := async(t.Context(), c, token)
		synctest.Wait()
		cancel()
		if r := <-leader; !errors.Is(r.err, context.Canceled) || errors.Is(r.err, tokencache.ErrRefused) {
			t.Errorf("the leader got %v, want its own cancellation", r.err)
		}
		close(gate.open)
		if r := <-follower; r.err != nil {
			t.Errorf("the follower got %v", r.err)
		}
		if got := src.loadsOf(token.ID()); got != 1 {
			t.Errorf("got %d source reads, want 1", got)
		}
		// A cancelled context does not matter to a hit, and starts no load.
		if _, err := c.AuthenticateToken(ctx, token); err != nil {
			t.Errorf("a hit with a cancelled context: %v", err)
		}
		c.Clear(context.Background(), tokencache.CauseAsked)
		if _, err := c.AuthenticateToken(ctx, token); !errors.Is(err, context.Canceled) {
			t.Errorf("a miss with a cancelled context: %v", err)
		}
		if got := src.loadsOf(token.ID()); got != 1 {
			t.Errorf("got %d source reads, want 1", got)
		}
	})
}

func TestPanicHarmsOnlyItsCallers(t *testing.T) {
	for _, test := range []struct {
		name, message string
		lookup        func()
		verify        func()
	}{
		{"runtime error", "the source panicked: runtime error: index out of range", func() { var s []int; _ = s[len(s)] }, nil},
		{"secret", "the source panicked with a string", func() { panic("supersecret") }, nil},
		{"goexit", "the source ended its goroutine", func() { runtime.Goexit() }, nil},
		{"verifier", "the source panicked with a string", nil, func() { panic("supersecret") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
			src := newTestSource(token)
			if test.lookup != nil {
				src.before = func(context.Context, tokencache.TokenID) error { test.lookup(); return nil }
			} else {
				src.verify = func(tokencache.Secret) bool { test.verify(); return true }
			}
			g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1})
			c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 1})
			for range 3 { // no slot is lost
				_, err := c.AuthenticateToken(t.Context(), token)
				if err == nil || !strings.HasPrefix(err.Error(), `tokencache: cache "test": no answer (source_panicked): `+test.message) || strings.Contains(err.Error(), "supersecret") {
					t.Fatalf("got %v, want it to say %q", err, test.message)
				}
			}
			src.before, src.verify = nil, nil
			check(t, c, token, "ok")
		})
	}
}

func TestMaxLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		var running, most atomic.Int32
		gate := newGate()
		src.before = func(ctx context.Context, id tokencache.TokenID) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			return gate.pass(ctx, id)
		}
		c := solo(t, src, tokencache.Config{MaxLoads: 3})
		var results []<-chan result
		for i := range 20 {
			token := mustToken(t, fmt.Sprintf("elastic/fleet-server/t%d", i), "supersecret")
			src.set(token)
			results = append(results, async(t.Context(), c, token), async(t.Context(), c, token))
		}
		synctest.Wait()
		// One that waits for its turn may give up.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.AuthenticateToken(ctx, mustToken(t, "a/b/c", "supersecret")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		if got := c.Stats().Loading; got != 3 {
			t.Errorf("got %d loads running, want 3", got)
		}
		close(gate.open)
		for _, ch := range results {
			if r := <-ch; r.err != nil {
				t.Error(r.err)
			}
		}
		if got := most.Load(); got > 3 {
			t.Errorf("got %d loads at once, want at most 3", got)
		}
		if got := c.Stats().Loads; got != 20 {
			t.Errorf("got %d loads, want 20", got)
		}
	})
}

// TestHashingBound checks that the bound is the group's, over both its caches,
// and that a source which hangs takes none of it.
func TestHashingBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		hashing, most := 0, 0
		verify := func(tokencache.Secret) bool {
			mu.Lock()
			hashing++
			most = max(most, hashing)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			hashing--
			mu.Unlock()
			return true
		}
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 2})
		hung := mustToken(t, "a/b/hung", "supersecret")
		var results []<-chan result
		for _, name := range []string{"file", "index"} {
			src := newTestSource()
			src.verify = verify
			src.before = func(ctx context.Context, id tokencache.TokenID) error {
				if id == hung.ID() {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}
			c := newCache(t, g, name, src, tokencache.Config{})
			async(t.Context(), c, hung)
			for i := range 4 {
				token := mustToken(t, fmt.Sprintf("a/b/t%d", i), "supersecret")
				src.set(token)
				results = append(results, async(t.Context(), c, token))
			}
		}
		start := time.Now()
		for _, ch := range results {
			if r := <-ch; r.err != nil {
				t.Error(r.err)
			}
		}
		if most != 2 {
			t.Errorf("got %d hashes at once, want 2", most)
		}
		if got := time.Since(start); got != 4*time.Second {
			t.Errorf("8 hashes of a second, 2 at once, took %v", got)
		}
	})
}

// TestWrongSecretsDoNotQueueTheRight is about the flight's key: by the token's
// name alone, the right caller would wait for the wrong one's load.
func TestWrongSecretsDoNotQueueTheRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		right := mustToken(t, "a/b/c", "supersecret")
		wrong := mustToken(t, "a/b/c", "wrong-secret")
		src, gate := newTestSource(right), newGate()
		src.after = func(ctx context.Context, id tokencache.TokenID) error {
			if src.loadsOf(id) == 1 {
				return gate.pass(ctx, id) // the wrong one's
			}
			return nil
		}
		c := solo(t, src, tokencache.Config{})
		refused := async(t.Context(), c, wrong)
		synctest.Wait()
		check(t, c, right, "ok")
		close(gate.open)
		if r := <-refused; !errors.Is(r.err, tokencache.ErrRefused) {
			t.Errorf("got %v, want a refusal", r.err)
		}
		check(t, c, right, "ok")
		if got := c.Stats(); got.Hits != 1 || got.Entries != 1 {
			t.Errorf("got %+v, want the right token remembered", got)
		}
	})
}

// TestHideNames: each refusal takes a read and a hash, whatever it is for, once the
// source has handed out a hash.
func TestHideNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(secret tokencache.Secret) bool { time.Sleep(time.Second); return secret.Reveal() == "supersecret" }
		answers := map[string]tokencache.Answer[record]{
			"good":     {Held: true, Verify: slow},
			"disabled": {Held: true, Disabled: true, Verify: slow},
			"expired":  {Held: true, Expires: time.Unix(1, 0), Verify: slow},
		}
		reads := 0
		src := silent{asked(func(_ context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
			reads++
			return answers[id.Name], nil
		})}
		c := solo(t, src, tokencache.Config{HideNames: true})
		try := func(name, secret string, want tokencache.Reason, wantReads int, wantTime time.Duration) {
			t.Helper()
			start, before := time.Now(), reads
			_, err := c.Authenticate(t.Context(), header(mustToken(t, "a/a/"+name, secret)))
			if got, took := reads-before, time.Since(start); reasonOf(err) != want || got != wantReads || took != wantTime {
				t.Errorf("%s, %s: got %v after %v and %d reads, want %v, %v and %d", name, secret, err, took, got, want, wantTime, wantReads)
			}
		}
		try("nobody", "supersecret", tokencache.ReasonUnknownToken, 1, 0) // there is no hash yet
		try("good", "supersecret", 0, 1, time.Second)
		for range 2 {
			try("good", "supersecret", 0, 0, 0)
			try("good", "wrong-secret", tokencache.ReasonWrongSecret, 1, time.Second)
			try("nobody", "supersecret", tokencache.ReasonUnknownToken, 1, time.Second)
			try("disabled", "supersecret", tokencache.ReasonDisabled, 1, time.Second)
			try("expired", "supersecret", tokencache.ReasonExpired, 1, time.Second)
		}
	})
}

// A silent source says at once that it holds nothing.
type silent struct{ asked }

func (silent) MayHold(tokencache.TokenID) bool { return false }

func TestRefusalsAreNotRemembered(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	wrong := mustToken(t, "elastic/fleet-server/token1", "wrong-secret")
	src := newTestSource(token)
	c := solo(t, src, tokencache.Config{})
	check(t, c, wrong, "refused")
	src.set(wrong) // replaced, and nobody told the cache
	check(t, c, wrong, "ok")
}

func TestErrorsAreErrors(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	outage := errors.New("connection refused")
	src := newTestSource(token)
	src.before = func(context.Context, tokencache.TokenID) error { return outage }
	c := solo(t, src, tokencache.Config{})

	_, err := c.AuthenticateToken(t.Context(), token)
	if !errors.Is(err, outage) || errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("got %v, want the outage, and no refusal", err)
	}
	if got, want := err.Error(), `tokencache: cache "test": no answer (source_failed): connection refused`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	src.before = nil
	check(t, c, token, "ok") // the outage was not remembered
	src.before = func(context.Context, tokencache.TokenID) error { return outage }
	check(t, c, token, "ok") // nor does it undo what is known
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
				g.Evict(t.Context(), all(t, a))
			} else {
				g.Evict(t.Context(), named(t, a, "evicted"))
			}
		}
		time.Sleep(time.Minute)
		if got := tokencache.Bookkeeping(g); got != 0 {
			t.Errorf("%d accounts are left after evicted loads", got)
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
	c := solo(t, beside{newTestSource(token)}, tokencache.Config{})
	if _, err := c.AuthenticateToken(t.Context(), token); !errors.Is(err, errOutage) {
		t.Errorf("got %v, want the outage", err)
	}
}

// TestJoinedPastTheTokensExpiry: a load has read a token that expires before the
// load ends. A caller that came before the expiry is confirmed, and one that comes
// after it is not, though the load still runs.
func TestJoinedPastTheTokensExpiry(t *testing.T) {
	slow := func() bool { time.Sleep(7 * time.Second); return true }
	for _, test := range []struct {
		name   string
		answer tokencache.Answer[record]
		first  string
	}{
		{"Verify", tokencache.Answer[record]{Verify: func(tokencache.Secret) bool { return slow() }}, "ok"},
		{"Ask", tokencache.Answer[record]{Ask: func(context.Context, tokencache.Secret) (bool, error) { return slow(), nil }}, "refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
				answer := test.answer
				answer.Held, answer.Expires = true, time.Now().Add(5*time.Second)
				src := asked(func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) { return answer, nil })
				c := solo(t, src, tokencache.Config{})
				first := async(t.Context(), c, token)
				time.Sleep(6 * time.Second)
				_, err := c.AuthenticateToken(t.Context(), token)
				if r, ok := errors.AsType[*tokencache.RefusedError](err); !ok || r.Reason != tokencache.ReasonExpired {
					t.Errorf("got %v, want a refusal: the token had expired before the call", err)
				}
				if r := <-first; outcome(r.err) != test.first {
					t.Errorf("the first caller got %v, want %v", r.err, test.first)
				}
				check(t, c, token, "refused")
			})
		})
	}
}

// TestOneLoadWhileTheSlotsAreBusy: callers wait for their token, not for slots.
func TestOneLoadWhileTheSlotsAreBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src, gate := newTestSource(token), newGate()
		src.before = func(ctx context.Context, id tokencache.TokenID) error {
			if id != token.ID() {
				return gate.pass(ctx, id)
			}
			return nil
		}
		c := solo(t, src, tokencache.Config{MaxLoads: 1})
		async(t.Context(), c, mustToken(t, "a/b/c", "supersecret"))
		synctest.Wait()
		var results []<-chan result
		for range 1000 {
			results = append(results, async(t.Context(), c, token))
		}
		synctest.Wait()
		if got := c.Stats().Waiting; got != 1 {
			t.Errorf("%d loads wait for the slot, want 1 for all callers", got)
		}
		close(gate.open)
		for _, ch := range results {
			if r := <-ch; r.err != nil {
				t.Fatal(r.err)
			}
		}
		if got := src.loadsOf(token.ID()); got != 1 {
			t.Errorf("got %d source reads, want 1", got)
		}
	})
}

// TestAllocations: a wrong secret, an absence and a miss take no more memory than they
// need. More would come of a slower way to the same answer.
func TestAllocations(t *testing.T) {
	token := mustToken(t, "a/a/a", "supersecret")
	var hit float64 // which allocates nothing, but under the race detector
	for _, test := range []struct {
		name        string
		ttl         time.Duration
		asked       tokencache.Token
		want        string
		allocations float64
	}{
		{"a hit", 0, token, "ok", 0},
		{"a wrong secret", 0, mustToken(t, "a/a/a", "wrongsecret"), "refused", 1}, // the error
		{"an absence", 0, mustToken(t, "a/a/b", "supersecret"), "refused", 1},
		{"a secret that is too long", 0, mustToken(t, "a/a/a", strings.Repeat("s", 5000)), "refused", 1},
		{"a miss", -1, token, "ok", 11}, // three of them are the source's
	} {
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", newTestSource(token), tokencache.Config{TTL: test.ttl, AbsentTTL: time.Hour})
		check(t, c, token, "ok")
		authorization := header(test.asked)
		var err error
		got := testing.AllocsPerRun(200, func() { _, err = g.Authenticate(context.Background(), authorization) })
		if test.name == "a hit" {
			hit = got
		}
		if outcome(err) != test.want || got > hit+test.allocations {
			t.Errorf("%s: got %v and %v allocations, want %s and at most %v", test.name, err, got, test.want, hit+test.allocations)
		}
	}
}
