package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

// A slowSource computes hashes that take a second, and notes whose.
type slowSource struct {
	*testSource
	mu    sync.Mutex
	order []string
}

func newSlowSource(t testing.TB, names ...string) *slowSource {
	s := &slowSource{testSource: newTestSource()}
	for _, name := range names {
		s.set(mustToken(t, name, "supersecret"))
	}
	return s
}

func (s *slowSource) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	a, err := s.testSource.Lookup(ctx, id)
	if verify := a.Verify; verify != nil {
		a.Verify = func(secret tokencache.Secret) bool {
			s.mu.Lock()
			s.order = append(s.order, id.String())
			s.mu.Unlock()
			time.Sleep(time.Second)
			return verify(secret)
		}
	}
	return a, err
}

func (s *slowSource) hashed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

// begin authenticates in the background, and returns once the load cannot go on.
func begin(t *testing.T, c *tokencache.Cache[record], name, secret string) <-chan result {
	t.Helper()
	ch := async(t.Context(), c, mustToken(t, name, secret))
	synctest.Wait()
	return ch
}

// expect checks what came of a request.
func expect(t *testing.T, ch <-chan result, want error) {
	t.Helper()
	r := <-ch
	if want == nil && r.err != nil || !errors.Is(r.err, want) {
		t.Errorf("got %v, want %v", r.err, want)
	}
}

// TestTurnsByAccountThenNameThenFirstCome: one turn, and one more for an account
// that computes nothing.
func TestTurnsByAccountThenNameThenFirstCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t, "x/x/x", "y/y/y", "a/a/a1", "a/a/a2", "b/b/b1", "c/c/c1")
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Minute})
		c := newCache(t, g, "test", src, tokencache.Config{})
		results := []<-chan result{begin(t, c, "x/x/x", "supersecret")}
		time.Sleep(100 * time.Millisecond)
		for _, name := range []string{"y/y/y", "a/a/a1"} {
			results = append(results, begin(t, c, name, "supersecret"))
		}
		wrong := begin(t, c, "a/a/a1", "wrong-secret")
		for _, name := range []string{"a/a/a2", "b/b/b1", "c/c/c1"} {
			results = append(results, begin(t, c, name, "supersecret"))
		}
		if got := g.Stats(); got.Hashing != 2 || got.Waiting != 5 {
			t.Errorf("got %+v, want 2 that hash and 5 that wait", got)
		}
		for _, ch := range results {
			expect(t, ch, nil)
		}
		expect(t, wrong, tokencache.ErrRefused)
		want := []string{"x/x/x", "y/y/y", "a/a/a1", "b/b/b1", "c/c/c1", "a/a/a2", "a/a/a1"}
		if diff := cmp.Diff(want, src.hashed()); diff != "" {
			t.Errorf("order of the hashes (-want +got):\n%s", diff)
		}
		if got := g.Stats(); got.Hashing != 0 || got.Waiting != 0 || got.Confirmed != 6 || got.Refused != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestClearUnderFloodCostsOneHashEach: the tokens of a cleared cache come before
// wrong secrets for their own names.
func TestClearUnderFloodCostsOneHashEach(t *testing.T) {
	for _, how := range []string{"cleared", "evicted", "expired", "displaced"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newSlowSource(t, "a/a/good", "a/a/other")
				g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Hour})
				c := newCache(t, g, "test", src, tokencache.Config{MaxEntries: 1, TTL: time.Minute})
				expect(t, begin(t, c, "a/a/good", "supersecret"), nil)
				switch how {
				case "cleared":
					g.Clear(t.Context(), tokencache.CauseAsked)
				case "evicted":
					g.Evict(t.Context(), tokencache.CauseAsked, named(t, src.account("a/a/x"), "good"))
				case "expired":
					time.Sleep(2 * time.Minute)
				case "displaced":
					expect(t, begin(t, c, "a/a/other", "supersecret"), nil)
				}
				var flood []<-chan result
				for i := range 20 {
					flood = append(flood, begin(t, c, "a/a/good", fmt.Sprintf("wrong-secret-%d", i)))
				}
				start := time.Now()
				expect(t, begin(t, c, "a/a/good", "supersecret"), nil)
				if waited := time.Since(start); waited > 2*time.Second {
					t.Errorf("waited for %v, want one hash of another and its own", waited)
				}
				for _, ch := range flood {
					expect(t, ch, tokencache.ErrRefused)
				}
			})
		})
	}
}

func (s *slowSource) account(name string) tokencache.Account {
	id, _ := tokencache.ParseTokenID(name)
	return id.Account
}

// TestHintsAreNoAnswers: a secret that was good is refused once it is not.
func TestHintsAreNoAnswers(t *testing.T) {
	src := newTestSource(mustToken(t, "a/a/a", "supersecret"))
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
	check(t, c, mustToken(t, "a/a/a", "supersecret"), "ok")
	src.set(mustToken(t, "a/a/a", "another-secret"))
	c.Clear(t.Context(), tokencache.CauseAsked)
	check(t, c, mustToken(t, "a/a/a", "supersecret"), "refused")
	check(t, c, mustToken(t, "a/a/a", "another-secret"), "ok")
}

// TestWaitingHasItsOwnBound: waiting for a turn does not count against the load's
// time, and ends with an error of its own.
func TestWaitingHasItsOwnBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t, "a/a/0", "a/a/1", "a/a/2", "a/a/3", "a/a/4")
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: 3500 * time.Millisecond})
		c := newCache(t, g, "test", src, tokencache.Config{LoadTimeout: 1500 * time.Millisecond})
		start := time.Now()
		var results []<-chan result
		for i := range 5 {
			results = append(results, begin(t, c, fmt.Sprintf("a/a/%d", i), "supersecret"))
		}
		for _, ch := range results[:4] {
			expect(t, ch, nil)
		}
		err := (<-results[4]).err
		noAnswer, _ := errors.AsType[*tokencache.NoAnswerError](err)
		if !errors.Is(err, tokencache.ErrOverloaded) || errors.Is(err, context.DeadlineExceeded) || noAnswer.RetryAfter < time.Second || noAnswer.Cache != "test" {
			t.Errorf("got %#v", err)
		}
		if got := time.Since(start); got != 4*time.Second {
			t.Errorf("it all took %v", got)
		}
		if got := g.Stats(); got.Overloaded != 1 || got.Confirmed != 4 || got.Hashing+got.Waiting != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestAnAccountsEighthOfThePlaces: of 16 places an account has two; a newcomer
// takes one from whoever has more than it.
func TestAnAccountsEighthOfThePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t, "x/x/x", "y/y/y")
		for i := range 10 {
			for k := range 4 {
				src.set(mustToken(t, fmt.Sprintf("a/a%d/%d", i, k), "supersecret"))
			}
		}
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxQueue: 16, MaxWait: time.Hour})
		c := newCache(t, g, "test", src, tokencache.Config{})
		results := []<-chan result{begin(t, c, "x/x/x", "supersecret"), begin(t, c, "y/y/y", "supersecret")}
		for i := range 8 {
			for k := range 2 {
				results = append(results, begin(t, c, fmt.Sprintf("a/a%d/%d", i, k), "supersecret"))
			}
			expect(t, begin(t, c, fmt.Sprintf("a/a%d/3", i), "supersecret"), tokencache.ErrOverloaded)
		}
		results = append(results, begin(t, c, "a/a8/0", "supersecret"))
		expect(t, begin(t, c, "a/a8/1", "supersecret"), tokencache.ErrOverloaded) // nobody has more than two
		if got := g.Stats().Waiting; got != 16 {
			t.Errorf("got %d that wait, want 16", got)
		}
		overloaded := 0
		for i, ch := range results {
			if r := <-ch; errors.Is(r.err, tokencache.ErrOverloaded) && i < len(results)-1 {
				overloaded++
			} else if r.err != nil {
				t.Errorf("request %d: %v", i, r.err)
			}
		}
		if overloaded != 1 {
			t.Errorf("got %d turned away, want 1 for the newcomer", overloaded)
		}
		if got := g.Stats(); got.Overloaded != 10 || got.Hashing+got.Waiting != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestAbandonedHashesAreNotBegun: what waits for a slot, or for a turn to hash, does
// not begin when its only caller has gone. What another caller waits for does.
func TestAbandonedHashesAreNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t, "a/a/0", "a/a/1", "a/a/2", "b/b/b")
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1})
		c := newCache(t, g, "test", src, tokencache.Config{})
		first, second := begin(t, c, "a/a/0", "supersecret"), begin(t, c, "b/b/b", "supersecret")
		ctx, cancel := context.WithCancel(t.Context())
		gone := async(ctx, c, mustToken(t, "a/a/1", "supersecret"))
		shared := async(ctx, c, mustToken(t, "a/a/2", "supersecret"))
		synctest.Wait()
		stays := begin(t, c, "a/a/2", "supersecret")
		cancel()
		expect(t, gone, context.Canceled)
		expect(t, shared, context.Canceled)
		for _, ch := range []<-chan result{first, second, stays} {
			expect(t, ch, nil)
		}
		if got := src.hashed(); len(got) != 3 || slices.Contains(got, "a/a/1") {
			t.Errorf("computed the hashes of %v", got)
		}
		if got := g.Stats(); got.NoAnswer != 2 || got.Waiting != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestAbandonedWhileReading: a load whose only caller has gone while its source was
// read computes no hash; one with a caller left does.
func TestAbandonedWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, gate := newSlowSource(t, "a/a/gone", "a/a/shared"), newGate()
		src.before = gate.pass
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		gone := async(ctx, c, mustToken(t, "a/a/gone", "supersecret"))
		shared := async(ctx, c, mustToken(t, "a/a/shared", "supersecret"))
		synctest.Wait()
		stays := begin(t, c, "a/a/shared", "supersecret")
		cancel()
		expect(t, gone, context.Canceled)
		expect(t, shared, context.Canceled)
		close(gate.open)
		expect(t, stays, nil)
		if diff := cmp.Diff([]string{"a/a/shared"}, src.hashed()); diff != "" {
			t.Errorf("hashes (-want +got):\n%s", diff)
		}
		if got := c.Stats(); got.Loads != 2 || got.Stored != 1 || got.Discarded != 1 || got.Refusals != 0 {
			t.Errorf("got %+v, want one stored and one discarded", got)
		}
		c.Clear(t.Context(), tokencache.CauseAsked)
		if got := tokencache.Bookkeeping(g); got != 0 {
			t.Errorf("%d things are left", got)
		}
		expect(t, begin(t, c, "a/a/gone", "supersecret"), nil)
	})
}

// TestAbandonedInTheQueueForSlots is the same before the source is read.
func TestAbandonedInTheQueueForSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, gate := newTestSource(mustToken(t, "a/a/0", "supersecret")), newGate()
		src.before = gate.pass
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{MaxLoads: 1})
		first := begin(t, c, "a/a/0", "supersecret")
		ctx, cancel := context.WithCancel(t.Context())
		gone := async(ctx, c, mustToken(t, "a/a/1", "supersecret"))
		synctest.Wait()
		if got := c.Stats(); got.Waiting != 1 || got.Loading != 1 {
			t.Errorf("got %+v", got)
		}
		cancel()
		expect(t, gone, context.Canceled)
		close(gate.open)
		expect(t, first, nil)
		if got := c.Stats(); got.Loads != 1 || got.Waiting != 0 || got.Loading != 0 {
			t.Errorf("got %+v, want one load", got)
		}
	})
}

// TestStraysOfAllAccounts: at the bound nobody begins a load, and what is in memory
// answers all the same.
func TestStraysOfAllAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := mustToken(t, "good/good/good", "supersecret")
		src, back := newTestSource(good), make(chan struct{})
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{MaxLoads: 2, LoadTimeout: time.Second})
		check(t, c, good, "ok")
		src.before = func(context.Context, tokencache.TokenID) error { <-back; return nil }
		for i := range 64 {
			expect(t, begin(t, c, fmt.Sprintf("bad%d/a/a", i), "supersecret"), context.DeadlineExceeded)
		}
		start := time.Now()
		_, err := c.AuthenticateToken(t.Context(), mustToken(t, "c/c/c", "supersecret"))
		if noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err); !ok || noAnswer.Reason != tokencache.ReasonUnavailable || time.Since(start) != 0 {
			t.Errorf("got %v after %v, want the source to be unavailable", err, time.Since(start))
		}
		check(t, c, good, "ok")
		close(back)
		synctest.Wait()
		check(t, c, mustToken(t, "c/c/c", "supersecret"), "refused")
	})
}
