package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

// check authenticates and compares the outcome: "ok", "refused" or "error".
func check(t testing.TB, c interface {
	AuthenticateToken(context.Context, tokencache.Token) (tokencache.Verdict[record], error)
}, token tokencache.Token, want string) {
	t.Helper()
	v, err := c.AuthenticateToken(t.Context(), token)
	if got := outcome(err); got != want {
		t.Errorf("%v: got %s (%v), want %s", token, got, err, want)
	}
	if err == nil && v.Token != token.ID() {
		t.Errorf("%v: got a verdict for %v", token, v.Token)
	}
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, tokencache.ErrRefused):
		return "refused"
	default:
		return "error"
	}
}

// statsDiff compares the counters that the test names.
func statsDiff(got, want tokencache.Stats) string { return cmp.Diff(want, got) }

func TestCacheRemembers(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	src := newTestSource(token)
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
	for i := range 3 {
		v, err := c.Authenticate(t.Context(), header(token))
		if err != nil {
			t.Fatal(err)
		}
		want := tokencache.Verdict[record]{Token: token.ID(), Cache: "test", Record: record{Version: 1}, FromMemory: i > 0}
		if diff := cmp.Diff(want, v); diff != "" {
			t.Errorf("verdict (-want +got):\n%s", diff)
		}
	}
	if diff := statsDiff(c.Stats(), tokencache.Stats{Hits: 2, Misses: 1, Loads: 1, Stored: 1, Entries: 1}); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestWrongSecretIsRefusedFromMemory(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	wrong := mustToken(t, "elastic/fleet-server/token1", "wrong-secret")
	src := newTestSource(token)
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})

	check(t, c, wrong, "refused") // from the source: nothing is known yet
	check(t, c, token, "ok")
	for range 5 {
		check(t, c, wrong, "refused")
	}
	check(t, c, token, "ok")
	if diff := statsDiff(c.Stats(), tokencache.Stats{Hits: 1, Mismatches: 5, Misses: 2, Loads: 2, Refusals: 1, Stored: 1, Entries: 1}); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestRefusalsAreNotRemembered(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	wrong := mustToken(t, "elastic/fleet-server/token1", "wrong-secret")
	src := newTestSource(token)
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
	check(t, c, wrong, "refused")
	src.set(wrong) // replaced, and nobody told the cache
	check(t, c, wrong, "ok")
}

func TestErrorsAreErrors(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	outage := errors.New("connection refused")
	src := newTestSource(token)
	src.before = func(context.Context, tokencache.TokenID) error { return outage }
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})

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

func TestTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := newTestSource(token)
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{TTL: time.Minute, Jitter: -1})
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
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{TTL: 8 * time.Second, Jitter: -1})
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
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
		const n = 200
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
		time.Sleep(time.Minute)
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
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{TTL: -1})
	for range 3 {
		check(t, c, token, "ok")
	}
	if diff := statsDiff(c.Stats(), tokencache.Stats{Misses: 3, Loads: 3}); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestMaxEntriesKeepsWhatIsUsed(t *testing.T) {
	src := newTestSource()
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{MaxEntries: 10})
	var tokens []tokencache.Token
	for i := range 100 {
		token := mustToken(t, fmt.Sprintf("elastic/account%d/token", i), "supersecret")
		tokens = append(tokens, token)
		src.set(token)
	}
	hot := tokens[0]
	for _, token := range tokens {
		check(t, c, token, "ok")
		check(t, c, hot, "ok")
	}
	if got := src.loadsOf(hot.ID()); got != 1 {
		t.Errorf("the token in use was loaded %d times, want 1", got)
	}
	if got := c.Stats(); got.Entries != 10 || got.Displaced != 90 {
		t.Errorf("got %+v, want 10 entries, 90 displaced", got)
	}
	// Wrong secrets and unknown tokens displace nothing.
	before := c.Stats()
	for i := range 100 {
		check(t, c, mustToken(t, fmt.Sprintf("elastic/account%d/token", i), "wrong-secret"), "refused")
		check(t, c, mustToken(t, fmt.Sprintf("elastic/unknown%d/token", i), "supersecret"), "refused")
	}
	if got := c.Stats(); got.Entries != before.Entries || got.Displaced != before.Displaced {
		t.Errorf("refusals displaced entries: got %+v, want as before, %+v", got, before)
	}
}

// TestAllUsed fills a cache whose entries were all used, which must neither spin
// nor refuse to make room.
func TestAllUsed(t *testing.T) {
	const most = 500
	src := newTestSource()
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{MaxEntries: most})
	for i := range 2 * most {
		token := mustToken(t, fmt.Sprintf("elastic/fleet-server/t%d", i), "supersecret")
		src.set(token)
		check(t, c, token, "ok")
		check(t, c, token, "ok")
	}
	if got := c.Stats().Entries; got != most {
		t.Errorf("got %d entries, want %d", got, most)
	}
}

func TestNewRejects(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	newCache(t, g, "taken", newTestSource(), tokencache.Config{})
	for _, test := range []struct {
		name, cache string
		src         tokencache.Source[record]
		cfg         tokencache.Config
		message     string
	}{
		{"no name", "", newTestSource(), tokencache.Config{}, "name is empty"},
		{"no source", "x", nil, tokencache.Config{}, `the source of the cache "x" is nil`},
		{"name taken", "taken", newTestSource(), tokencache.Config{}, `a cache of the name "taken" already`},
		{"entries", "x", newTestSource(), tokencache.Config{MaxEntries: -1}, "Config.MaxEntries is -1: must not be negative"},
		{"timeout", "x", newTestSource(), tokencache.Config{LoadTimeout: -time.Second}, "Config.LoadTimeout is -1s: must be 0 to 24 hours"},
		{"loads", "x", newTestSource(), tokencache.Config{MaxLoads: -5}, "Config.MaxLoads is -5: must not be negative"},
		{"jitter", "x", newTestSource(), tokencache.Config{TTL: time.Minute, Jitter: time.Hour}, "Config.Jitter is 1h0m0s: must not be above TTL, which is 1m0s"},
		{"two at once", "x", newTestSource(), tokencache.Config{MaxLoads: -5, MaxEntries: -7}, "Config.MaxEntries is -7"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := tokencache.New(g, test.cache, test.src, test.cfg)
			if err == nil || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v, want it to say %q", err, test.message)
			}
			if src, ok := test.src.(*testSource); ok && src.subscribers() != 0 {
				t.Error("a subscription was left behind")
			}
		})
	}
}

// TestManyCaches: the caches beyond the 64th answer as the others do.
func TestManyCaches(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	var tokens []tokencache.Token
	for i := range 70 {
		tokens = append(tokens, mustToken(t, fmt.Sprintf("elastic/fleet-server/t%d", i), "supersecret"))
		newCache(t, g, fmt.Sprint(i), newTestSource(tokens[i]), tokencache.Config{})
	}
	for range 2 {
		for i, token := range tokens {
			if v, err := g.Authenticate(t.Context(), header(token)); err != nil || v.Cache != fmt.Sprint(i) {
				t.Errorf("%v: got %v, %v", token, v, err)
			}
			if _, err := g.Authenticate(t.Context(), header(mustToken(t, token.String(), "wrong-secret"))); !errors.Is(err, tokencache.ErrRefused) {
				t.Errorf("%v with a wrong secret: got %v", token, err)
			}
		}
	}
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		other := mustToken(t, "elastic/fleet-server/token2", "supersecret")
		src := newTestSource(token, other)
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{})
		check(t, c, token, "ok")

		// A load in flight ends by its context; Close does not wait for it, and Wait
		// does.
		var returned atomic.Bool
		src.before = func(ctx context.Context, _ tokencache.TokenID) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			returned.Store(true)
			return ctx.Err()
		}
		waiting := make(chan error)
		go func() {
			_, err := c.AuthenticateToken(t.Context(), other)
			waiting <- err
		}()
		synctest.Wait()
		go func() {
			if err := <-waiting; !errors.Is(err, tokencache.ErrClosed) {
				t.Errorf("the caller in wait got %v, want ErrClosed", err)
			}
		}()
		start := time.Now()
		g.Close()
		if returned.Load() || time.Since(start) != 0 {
			t.Error("Close waited for the load")
		}
		c.Close() // again
		gaveUp, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := c.Wait(gaveUp); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait beside a load: got %v", err)
		}
		if err := g.Wait(t.Context()); err != nil || !returned.Load() {
			t.Errorf("Wait: got %v before the load had ended", err)
		}
		if src.subscribers() != 0 {
			t.Error("Close left the subscription")
		}
		for _, tok := range []tokencache.Token{token, other} {
			if _, err := c.AuthenticateToken(t.Context(), tok); !errors.Is(err, tokencache.ErrClosed) {
				t.Errorf("%v after Close: got %v, want ErrClosed", tok, err)
			}
		}
		if got := c.Stats(); got.Entries != 0 || got.Loading != 0 {
			t.Errorf("got %+v, want nothing left", got)
		}
		if got := c.Evict(context.Background(), tokencache.CauseAsked, all(t, fleet)); got != 0 {
			t.Errorf("an eviction after Close removed %d", got)
		}
	})
}

func TestHitDoesNotAllocate(t *testing.T) {
	for _, secret := range []string{"0123456789abcdefghijkl", "supersecret"} {
		hitDoesNotAllocate(t, mustToken(t, "elastic/fleet-server/token1", secret))
	}
}

func hitDoesNotAllocate(t *testing.T, token tokencache.Token) {
	t.Helper()
	g := tokencache.NewGroup(tokencache.GroupConfig{KnownAccount: func(tokencache.Account) bool { return true }})
	first := newCache(t, g, "first", absent{newTestSource()}, tokencache.Config{})
	second := newCache(t, g, "second", newTestSource(token), tokencache.Config{})
	authorization := header(token)
	for name, authenticate := range map[string]func() error{
		"cache": func() error { _, err := second.Authenticate(t.Context(), authorization); return err },
		"group": func() error { _, err := g.Authenticate(t.Context(), authorization); return err },
	} {
		if err := authenticate(); err != nil {
			t.Fatal(err)
		}
		if allocs := testing.AllocsPerRun(1000, func() { authenticate() }); allocs != 0 {
			t.Errorf("%s: a hit allocates %v times", name, allocs)
		}
	}
	if got := first.Stats().Loads; got != 0 {
		t.Errorf("the first cache loaded %d times, want 0: its source says that it does not hold the token", got)
	}
}

// TestHitTakesNoLock hits while the mutex under which everything changes is held.
func TestHitTakesNoLock(t *testing.T) {
	for _, secret := range []string{"0123456789abcdefghijkl", "supersecret"} {
		hitTakesNoLock(t, mustToken(t, "elastic/fleet-server/token1", secret))
	}
}

func hitTakesNoLock(t *testing.T, token tokencache.Token) {
	t.Helper()
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	newCache(t, g, "first", absent{newTestSource()}, tokencache.Config{})
	second := newCache(t, g, "second", newTestSource(token), tokencache.Config{})
	wrong := mustToken(t, "elastic/fleet-server/token1", "wrong-secret")
	check(t, second, token, "ok")
	tokencache.WithMutexHeld(g, func() {
		for range 100 {
			if _, err := g.Authenticate(t.Context(), header(token)); err != nil {
				t.Error(err)
			}
			check(t, second, token, "ok")
			check(t, second, wrong, "refused")
		}
	})
}

// absent is a source which knows that it holds nothing.
type absent struct{ *testSource }

func (absent) MayHold(tokencache.TokenID) bool { return false }
