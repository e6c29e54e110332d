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

// A hasher is a source of which each hash takes a second, and notes who was hashed.
type hasher struct {
	*testSource
	mu     sync.Mutex
	hashed []string
}

func (h *hasher) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	a, err := h.testSource.Lookup(ctx, id)
	verify := a.Verify
	a.Verify = func(s tokencache.Secret) bool {
		h.mu.Lock()
		h.hashed = append(h.hashed, id.Account.Service+"/"+id.Name)
		h.mu.Unlock()
		time.Sleep(time.Second)
		return verify(s)
	}
	return a, err
}

func newHasher(t *testing.T, cfg tokencache.GroupConfig, names ...string) (*hasher, *tokencache.Group, *tokencache.Cache[record]) {
	h := &hasher{testSource: newTestSource()}
	for _, name := range names {
		h.set(mustToken(t, name, "supersecret"))
	}
	g := tokencache.NewGroup(cfg)
	return h, g, newCache(t, g, "test", h, tokencache.Config{AbsentTTL: -1})
}

// TestClearedTokensAreHashedFirst: wrong secrets for the same name wait in the
// queue when a token that was good is cleared; it costs one hash.
func TestClearedTokensAreHashedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, g, c := newHasher(t, tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Hour}, "n/a/x")
		good := mustToken(t, "n/a/x", "supersecret")
		check(t, c, good, "ok")
		g.Clear(t.Context(), tokencache.CauseAsked)
		for i := range 50 {
			async(t.Context(), c, mustToken(t, "n/a/x", fmt.Sprintf("wrong-secret-%d", i)))
		}
		synctest.Wait()
		began := time.Now()
		check(t, c, good, "ok")
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("a token that was good a moment ago waited for %v, want the hash that ran and its own", took)
		}
	})
}

// TestAHintIsNoAnswer: a revoked token that was good a moment ago is hashed, or
// looked up, like any other, and refused.
func TestAHintIsNoAnswer(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	src := newTestSource(token)
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
	check(t, c, token, "ok")
	src.set(mustToken(t, "elastic/fleet-server/token1", "another-secret"))
	c.Clear(t.Context(), tokencache.CauseSource)
	check(t, c, token, "refused")
	check(t, c, token, "refused")
}

// TestQueueIsBounded: what finds no place ends at once, with the time to try again;
// one account has an eighth, and a newcomer of another account finds a place.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places = 16
		_, g, c := newHasher(t, tokencache.GroupConfig{MaxHashing: 1, MaxQueue: places}, "n/a/x", "n/b/x")
		for i := range 1 + places/8 {
			async(t.Context(), c, mustToken(t, "n/a/x", fmt.Sprintf("wrong-secret-%d", i)))
			synctest.Wait()
		}
		_, err := c.AuthenticateToken(t.Context(), mustToken(t, "n/a/x", "wrong-secret-more"))
		noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err)
		if !ok || !errors.Is(err, tokencache.ErrOverloaded) || noAnswer.RetryAfter < time.Second || noAnswer.Reason != tokencache.ReasonOverloaded {
			t.Errorf("got %#v, want an overload with the time to try again", err)
		}
		check(t, c, mustToken(t, "n/b/x", "supersecret"), "ok")
		if st := g.Stats(); st.Overloaded != 1 {
			t.Errorf("got %+v, want 1 overloaded", st)
		}
	})
}

// TestWaitingIsNotLoading: a load waits longer for its turn than it may take, and is
// answered; one that waits longer than MaxWait is told so, and not that its source
// is slow.
func TestWaitingIsNotLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, c := newHasher(t, tokencache.GroupConfig{MaxHashing: 1, MaxWait: 20 * time.Second}, "n/a/x", "n/a/y")
		for i := range 15 {
			async(t.Context(), c, mustToken(t, "n/a/x", fmt.Sprintf("wrong-secret-%d", i)))
		}
		synctest.Wait()
		last := mustToken(t, "n/a/x", "supersecret")
		began := time.Now()
		check(t, c, last, "ok")
		if took := time.Since(began); took < 11*time.Second {
			t.Errorf("it took %v, want longer than LoadTimeout, or the test shows nothing", took)
		}
		c.Clear(t.Context(), tokencache.CauseAsked)
		for i := range 40 {
			async(t.Context(), c, mustToken(t, "n/a/y", fmt.Sprintf("wrong-secret-%d", i)))
		}
		synctest.Wait()
		_, err := c.AuthenticateToken(t.Context(), mustToken(t, "n/a/y", "another-wrong"))
		if !errors.Is(err, tokencache.ErrOverloaded) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want an overload", err)
		}
	})
}

// TestAbandonedWorkIsNotBegun: the callers of loads that wait go away.
func TestAbandonedWorkIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _, c := newHasher(t, tokencache.GroupConfig{MaxHashing: 1}, "n/a/x")
		async(t.Context(), c, mustToken(t, "n/a/x", "wrong-secret"))
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 10 {
			async(ctx, c, mustToken(t, "n/a/x", fmt.Sprintf("wrong-secret-%d", i)))
		}
		synctest.Wait()
		cancel()
		time.Sleep(time.Minute)
		if got := len(h.hashed); got != 1 {
			t.Errorf("%d hashes were computed, want the one that somebody waited for", got)
		}
	})
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
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{MaxLoads: 1})
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

// TestHangingAccountLeavesRoom: reads of one account hang, with a source that
// ignores its context; other accounts are answered meanwhile and afterwards.
func TestHangingAccountLeavesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := mustToken(t, "good/one/t", "supersecret")
		src, release := newTestSource(good), make(chan struct{})
		src.before = func(_ context.Context, id tokencache.TokenID) error {
			if id.Account.Namespace == "bad" {
				<-release
			}
			return nil
		}
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 64, LoadTimeout: time.Second})
		for i := range 4000 {
			async(t.Context(), c, mustToken(t, fmt.Sprintf("bad/one/t%d", i), "supersecret"))
		}
		for range 30 {
			c.Clear(t.Context(), tokencache.CauseAsked)
			began := time.Now()
			check(t, c, good, "ok")
			if took := time.Since(began); took != 0 {
				t.Fatalf("the good token waited for %v", took)
			}
			time.Sleep(time.Second)
		}
		if st := c.Stats(); st.Strays > 16 || st.Loading > 8 || st.Strays == 0 {
			t.Errorf("got %+v, want at most an eighth of 64 loading, and as many strays", st)
		}
		_, err := c.AuthenticateToken(t.Context(), mustToken(t, "bad/one/more", "supersecret"))
		if noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err); !ok || noAnswer.Reason != tokencache.ReasonUnavailable {
			t.Errorf("the account whose loads hang got %v, want unavailable at once", err)
		}
		close(release)
		synctest.Wait()
		if st := c.Stats(); st.Strays != 0 || st.Loading != 0 || st.Waiting != 0 {
			t.Errorf("got %+v after the source came back, want nothing left", st)
		}
		check(t, c, mustToken(t, "bad/one/more", "supersecret"), "refused")
	})
}
