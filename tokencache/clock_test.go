package tokencache_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestPausedProcess: the timer that notes the time is late, as after a pause of the
// process. What had more than a minute left is confirmed by a few hits at most, and
// what had less by none.
func TestPausedProcess(t *testing.T) {
	for _, test := range []struct {
		name string
		ttl  time.Duration
		most int
	}{
		{"much left", 10 * time.Minute, 16},
		{"little left", 50 * time.Second, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
				src := newTestSource(token)
				g := tokencache.NewGroup(tokencache.GroupConfig{})
				c := newCache(t, g, "test", src, tokencache.Config{TTL: test.ttl, Jitter: -1})
				check(t, c, token, "ok")
				src.remove(token.ID())
				tokencache.StopTicking(g)
				time.Sleep(test.ttl)
				confirmed := 0
				for confirmed <= test.most {
					if _, err := c.Authenticate(t.Context(), header(token)); err != nil {
						break
					}
					confirmed++
				}
				if confirmed > test.most {
					t.Errorf("confirmed more than %d times past its TTL", test.most)
				}
				check(t, c, token, "refused")
			})
		})
	}
}

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := newTestSource(token)
		c := solo(t, src, tokencache.Config{TTL: time.Minute, Jitter: -1})
		check(t, c, token, "ok")
		src.remove(token.ID())
		for range 59 { // reads do not extend it
			time.Sleep(time.Second)
			check(t, c, token, "ok")
		}
		time.Sleep(time.Second)
		check(t, c, token, "refused")
		if got := c.Stats(); got.Expired != 1 || got.Entries != 0 || got.Hits != 59 {
			t.Errorf("got %+v, want 1 expired, 0 entries and 59 hits", got)
		}
	})
}

func TestTTLCountsFromTheStartOfTheLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := newTestSource(token)
		src.after = func(context.Context, tokencache.TokenID) error { time.Sleep(5 * time.Second); return nil }
		c := solo(t, src, tokencache.Config{TTL: 8 * time.Second, Jitter: -1})
		check(t, c, token, "ok")
		time.Sleep(3 * time.Second)
		check(t, c, token, "ok")
		if got := src.loadsOf(token.ID()); got != 2 {
			t.Errorf("got %d loads, want 2: the first read is 8 seconds old", got)
		}
	})
}

func TestDefaultTTLIsTwentyMinutesLessJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		c := solo(t, src, tokencache.Config{})
		const n = 1000
		var tokens [n]tokencache.Token
		for i := range tokens {
			tokens[i] = mustToken(t, fmt.Sprintf("elastic/fleet-server/t%d", i), "supersecret")
			src.set(tokens[i])
			check(t, c, tokens[i], "ok")
		}
		reloaded := func() (n int) {
			for _, token := range tokens {
				check(t, c, token, "ok")
				n += src.loadsOf(token.ID()) - 1
			}
			return n
		}
		time.Sleep(18 * time.Minute)
		if got := reloaded(); got != 0 {
			t.Errorf("after 18 minutes: got %d loaded again, want 0", got)
		}
		time.Sleep(6 * time.Second)
		if got := reloaded(); got == 0 {
			t.Error("6 seconds after 18 minutes: no token was loaded again, want one in 20")
		}
		time.Sleep(54 * time.Second)
		if got := reloaded(); got < n/5 || got > n*4/5 {
			t.Errorf("after 19 minutes: got %d of %d loaded again, want about half", got, n)
		}
		time.Sleep(time.Minute)
		if got := reloaded(); got != n {
			t.Errorf("after 20 minutes: got %d loaded again, want all %d", got, n)
		}
	})
}

func TestNegativeTTLRemembersNothing(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	src := newTestSource(token)
	c := solo(t, src, tokencache.Config{TTL: -1})
	for range 3 {
		check(t, c, token, "ok")
	}
	if diff := statsDiff(c.Stats(), tokencache.Stats{Misses: 3, Loads: 3}); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestEndlessTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "a/a/a", "supersecret")
		src := newTestSource(token)
		c := solo(t, src, tokencache.Config{TTL: math.MaxInt64, Jitter: -1})
		time.Sleep(time.Second) // or the sum is not too large
		check(t, c, token, "ok")
		for range 3 {
			time.Sleep(24 * time.Hour)
			check(t, c, token, "ok")
		}
		if since, until, ok := c.Remembers(token.ID()); !ok || !since.IsZero() || time.Until(until) < 100*365*24*time.Hour {
			t.Errorf("remembered since %v until %v, %t", since, until, ok)
		}
		if got := c.Evict(t.Context(), tokencache.CauseAsked, all(t, token.ID().Account)); got != 1 {
			t.Errorf("got %d evicted, want 1", got)
		}
		if got := src.loadsOf(token.ID()); got != 1 {
			t.Errorf("got %d reads", got)
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

// TestLargeTablesAreSwept: what has expired goes within a minute or so, however much it
// is.
func TestLargeTablesAreSwept(t *testing.T) {
	if testing.Short() {
		t.Skip("it stores 65 537 tokens")
	}
	synctest.Test(t, func(t *testing.T) {
		c, err := tokencache.New(tokencache.NewGroup(tokencache.GroupConfig{}), "test", open{}, tokencache.Config{TTL: time.Minute, Jitter: -1})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		const n = 1<<16 + 1 // so that the table has twice as many chains, and a step of the sweep is not enough
		for i := range n {
			c.AuthenticateToken(t.Context(), mustToken(t, fmt.Sprintf("a/a/%d", i), "supersecret"))
		}
		time.Sleep(time.Minute + 70*time.Second)
		if got := c.Stats(); got.Stored != n || got.Entries != 0 {
			t.Errorf("got %+v, want that all have gone", got)
		}
	})
}
