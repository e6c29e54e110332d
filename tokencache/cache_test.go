package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

func TestNewRejects(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	newCache(t, g, "taken", newTestSource(), tokencache.Config{})
	for _, test := range []struct {
		name, cache string
		src         tokencache.Source[record]
		cfg         tokencache.Config
		message     string
	}{
		{"no name", "", newTestSource(), tokencache.Config{}, "the cache's name is empty"},
		{"no source", "x", nil, tokencache.Config{}, `the source of the cache "x" is nil`},
		{"name taken", "taken", newTestSource(), tokencache.Config{}, `the group has a cache of the name "taken" already`},
		{"entries", "x", newTestSource(), tokencache.Config{MaxEntries: -1}, "Config.MaxEntries is -1: must not be negative; a negative TTL switches the cache off"},
		{"timeout", "x", newTestSource(), tokencache.Config{LoadTimeout: -time.Second}, "Config.LoadTimeout is -1s: must be 0 to 24 hours; a load without a deadline would hold its token for ever"},
		{"loads", "x", newTestSource(), tokencache.Config{MaxLoads: -5}, "Config.MaxLoads is -5: must not be negative"},
		{"jitter", "x", newTestSource(), tokencache.Config{TTL: time.Minute, Jitter: time.Hour}, "Config.Jitter is 1h0m0s: must not be above TTL, which is 1m0s"},
		{"two at once", "x", newTestSource(), tokencache.Config{MaxLoads: -5, MaxEntries: -7}, "Config.MaxEntries is -7: must not be negative; a negative TTL switches the cache off\ntokencache: Config.MaxLoads is -5: must not be negative"},
		{"refresh", "x", newTestSource(), tokencache.Config{TTL: time.Minute, RefreshAhead: time.Minute}, "Config.RefreshAhead is 1m0s: must be below TTL, which is 1m0s"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := tokencache.New(g, test.cache, test.src, test.cfg)
			if want := "tokencache: " + test.message; err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
			if src, ok := test.src.(*testSource); ok && src.subscribers() != 0 {
				t.Error("a subscription was left behind")
			}
		})
	}
}

func TestLoadTimeoutHasAnEnd(t *testing.T) {
	for _, d := range []time.Duration{24*time.Hour + 1, math.MaxInt64} {
		if _, err := tokencache.New(tokencache.NewGroup(tokencache.GroupConfig{}), "test", newTestSource(), tokencache.Config{LoadTimeout: d}); err == nil {
			t.Errorf("LoadTimeout %v is accepted", d)
		}
	}
	solo(t, newTestSource(), tokencache.Config{LoadTimeout: 24 * time.Hour})
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
		if got := g.Stats().Hashing; got != max(1, runtime.GOMAXPROCS(0)/2) {
			t.Errorf("MaxHashing: got %d at once, want half of GOMAXPROCS", got)
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

// TestRemembersNoInvalidName: what no token can have is not remembered.
func TestRemembersNoInvalidName(t *testing.T) {
	c := solo(t, newTestSource(), tokencache.Config{})
	if since, until, ok := c.Remembers(tokencache.TokenID{}); ok || !since.IsZero() || !until.IsZero() {
		t.Errorf("got %v, %v, %v", since, until, ok)
	}
}

// An eager source tells of a change while a cache subscribes.
type eager struct{ *testSource }

func (e eager) Subscribe(inv tokencache.Invalidator) (cancel func()) {
	inv.Clear(context.Background(), tokencache.CauseSource)
	return e.testSource.Subscribe(inv)
}

// TestChangeWhileSubscribing: a cache may be told of a change before it is a part of its
// group.
func TestChangeWhileSubscribing(t *testing.T) {
	token := mustToken(t, "a/a/a", "supersecret")
	check(t, solo(t, eager{newTestSource(token)}, tokencache.Config{}), token, "ok")
}

// A restless source tells of changes, from a goroutine of its own, from when a cache
// subscribes until that has become a part of its group, and after.
type restless struct {
	*testSource
	told, end chan struct{}
}

func (r restless) Subscribe(inv tokencache.Invalidator) (cancel func()) {
	begun := make(chan struct{})
	go func() {
		defer close(r.told)
		for first := true; ; first = false {
			inv.Clear(context.Background(), tokencache.CauseSource)
			if first {
				close(begun)
			}
			select {
			case <-r.end:
				return
			default:
			}
		}
	}()
	<-begun
	return r.testSource.Subscribe(inv)
}

// TestChangeWhileAdded: a cache becomes the second of its group while its source tells
// of a change.
func TestChangeWhileAdded(t *testing.T) {
	for range 2000 {
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		src := restless{newTestSource(), make(chan struct{}), make(chan struct{})}
		newCache(t, g, "first", newTestSource(), tokencache.Config{})
		newCache(t, g, "second", src, tokencache.Config{})
		close(src.end)
		<-src.told
	}
}
