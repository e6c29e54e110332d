package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

// What random changes of the code once got past the tests, each by name.
func TestSeveralLoadsOverdueAtOneInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		src.before = func(ctx context.Context, _ tokencache.TokenID) error { <-ctx.Done(); return ctx.Err() }
		c := solo(t, src, tokencache.Config{LoadTimeout: time.Second})
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

// TestOverdueOneByOne: each load has its own time, whichever ends first.
func TestOverdueOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		defer g.Close()
		c := newCache(t, g, "test", src, tokencache.Config{LoadTimeout: 10 * time.Second})
		src.before = func(ctx context.Context, id tokencache.TokenID) error {
			if id.Name == "quick" {
				time.Sleep(time.Second)
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		waited := make([]time.Duration, 4)
		var wg sync.WaitGroup
		for i, name := range []string{"first", "quick", "second", "third"} {
			wg.Go(func() {
				start := time.Now()
				c.AuthenticateToken(t.Context(), mustToken(t, "elastic/fleet-server/"+name, "supersecret"))
				waited[i] = time.Since(start)
			})
			time.Sleep(3 * time.Second)
		}
		wg.Wait()
		want := []time.Duration{10 * time.Second, time.Second, 10 * time.Second, 10 * time.Second}
		if diff := cmp.Diff(want, waited); diff != "" {
			t.Errorf("waited (-want +got):\n%s", diff)
		}
		synctest.Wait() // callers learn that a load is overdue before its source returns
		if got := c.Stats(); got.Loading != 0 || got.Errors != 3 || got.Refusals != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestLoadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src, release := newTestSource(token), make(chan struct{})
		var hung atomic.Bool
		src.before = func(context.Context, tokencache.TokenID) error {
			if !hung.Swap(true) {
				<-release // ignores its context
			}
			return nil
		}
		c := solo(t, src, tokencache.Config{LoadTimeout: time.Second})

		start := time.Now()
		_, err := c.AuthenticateToken(t.Context(), token)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "longer than 1s") {
			t.Errorf("got %v, want the load's deadline", err)
		}
		if got := time.Since(start); got != time.Second {
			t.Errorf("waited %v, want 1s", got)
		}
		// The token is not pinned: a later caller gets a load of its own, though the
		// first still hangs, and the first's late result is not stored.
		check(t, c, token, "ok")
		src.set(token)
		close(release)
		synctest.Wait()
		if v, err := c.AuthenticateToken(t.Context(), token); err != nil || v.Record.Version != 1 {
			t.Errorf("got %+v, %v, want what the second load read", v, err)
		}
		if got := c.Stats(); got.Discarded != 1 || got.Loads != 2 {
			t.Errorf("got %+v, want 2 loads, 1 discarded", got)
		}
	})
}

// TestTurnAtTheLastMoment: the time of a load that reads and that of one which
// waits for its slot are up at the same instant. The first gives its slot to the
// second, which then has its own time.
func TestTurnAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung, good := mustToken(t, "a/b/hung", "supersecret"), mustToken(t, "a/b/good", "supersecret")
		src := newTestSource(hung, good)
		src.before = func(ctx context.Context, id tokencache.TokenID) error {
			if id == hung.ID() {
				<-ctx.Done()
			} else {
				time.Sleep(5 * time.Second)
			}
			return ctx.Err()
		}
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxWait: 10 * time.Second})
		c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 1, LoadTimeout: 10 * time.Second})
		first := async(t.Context(), c, hung)
		synctest.Wait()
		second := async(t.Context(), c, good)
		if r := <-first; !errors.Is(r.err, context.DeadlineExceeded) {
			t.Errorf("the first got %v, want its source's timeout", r.err)
		}
		if r := <-second; r.err != nil {
			t.Errorf("the second got %v", r.err)
		}
	})
}

// TestTimeoutsAfterAClose: a cache was closed with all loads of the group in it; loads
// of another cache still have their time.
func TestTimeoutsAfterAClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, src := tokencache.NewGroup(tokencache.GroupConfig{}), newTestSource()
		src.before = func(ctx context.Context, _ tokencache.TokenID) error { <-ctx.Done(); return ctx.Err() }
		first := newCache(t, g, "first", src, tokencache.Config{})
		second := newCache(t, g, "second", src, tokencache.Config{LoadTimeout: time.Second})
		ended := begin(t, first, "a/a/a", "supersecret")
		first.Close()
		expect(t, ended, tokencache.ErrClosed)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := second.AuthenticateToken(ctx, mustToken(t, "a/a/a", "supersecret")); reasonOf(err) != tokencache.ReasonSourceTimeout || time.Since(start) != time.Second {
			t.Errorf("got %v after %v, want the source's timeout", err, time.Since(start))
		}
	})
}
