package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

var errOutage = errors.New("outage")

func (s *testSource) fail() {
	s.before = func(context.Context, tokencache.TokenID) error { return errOutage }
}

// reasonOf returns the reason of an error.
func reasonOf(err error) tokencache.Reason {
	if refused, ok := errors.AsType[*tokencache.RefusedError](err); ok {
		return refused.Reason
	}
	if noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err); ok {
		return noAnswer.Reason
	}
	return 0
}

// TestStaleUntilItsEnds: past its TTL a success answers while the source fails, and each of
// its ends ends that.
func TestStaleUntilItsEnds(t *testing.T) {
	token, wrong := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token1", "wrong-secret")
	ends := []struct {
		name, want string
		end        func(*testing.T, *pair, *testSource)
	}{
		{"nothing", "ok", func(*testing.T, *pair, *testSource) {}},
		{"a wrong secret, refused", "ok", func(t *testing.T, p *pair, src *testSource) {
			src.before = nil
			check(t, p.fileCache, wrong, "refused")
			src.fail()
		}},
		{"a wrong secret, unanswered", "ok", func(t *testing.T, p *pair, _ *testSource) { check(t, p.fileCache, wrong, "error") }},
		{"the time", "error", func(*testing.T, *pair, *testSource) { time.Sleep(4 * time.Minute) }},
		{"an eviction of another", "ok", func(t *testing.T, p *pair, _ *testSource) {
			p.group.Evict(t.Context(), tokencache.CauseAsked, named(t, fleet, "token2"))
		}},
		{"an eviction", "error", func(t *testing.T, p *pair, _ *testSource) {
			p.group.Evict(t.Context(), tokencache.CauseAsked, named(t, fleet, "token1"))
		}},
		{"a clearing", "error", func(t *testing.T, p *pair, _ *testSource) { p.fileCache.Clear(t.Context(), tokencache.CauseAsked) }},
		{"a refusal", "error", func(t *testing.T, p *pair, src *testSource) {
			src.before = nil
			src.remove(token.ID())
			check(t, p.fileCache, token, "refused")
			src.fail()
			time.Sleep(6 * time.Second) // nor is the absence remembered any more
		}},
		{"the lease", "error", func(t *testing.T, p *pair, _ *testSource) { p.group.Lease(time.Now()) }},
		{"the end of the cache", "error", func(t *testing.T, p *pair, _ *testSource) { p.fileCache.Close() }},
	}
	for _, test := range ends {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src, p := newTestSource(token), newPair(t)
				g := tokencache.NewGroup(tokencache.GroupConfig{})
				p.group, p.fileSrc = g, src
				p.fileCache = newCache(t, g, "file", src, tokencache.Config{TTL: time.Minute, Jitter: -1, ServeStale: 5 * time.Minute, MaxBackoff: -1})
				check(t, p.fileCache, token, "ok")
				src.fail()
				time.Sleep(2 * time.Minute)
				v, err := p.fileCache.AuthenticateToken(t.Context(), token)
				if err != nil || !v.Stale || !v.FromMemory || v.Record.Version != 1 || p.fileCache.Stats().Stale != 1 {
					t.Errorf("got %+v, %v", v, err)
				}
				check(t, p.fileCache, wrong, "error")
				test.end(t, p, src)
				check(t, p.fileCache, token, test.want)
				if test.want == "ok" {
					src.before = nil
					if v, err := p.fileCache.AuthenticateToken(t.Context(), token); err != nil || v.Stale {
						t.Errorf("with the source back: got %+v, %v", v, err)
					}
				}
			})
		})
	}
}

// TestRefreshIsOneLoad: an entry in use is loaded again once before its time ends, in
// the background; if that fails, it stays for its time.
func TestRefreshIsOneLoad(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("fails ", fails), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
				src := newTestSource(token)
				c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{TTL: 10 * time.Minute, Jitter: -1, RefreshAhead: 2 * time.Minute})
				authenticate := func() (tokencache.Verdict[record], error) { return c.Authenticate(t.Context(), header(token)) }
				authenticate()
				time.Sleep(7 * time.Minute)
				authenticate()
				synctest.Wait()
				if got := c.Stats().Loads; got != 1 {
					t.Errorf("got %d loads after 7 minutes, want 1", got)
				}
				src.set(token)
				if fails {
					src.fail()
				}
				time.Sleep(150 * time.Second)
				for range 3 {
					if v, err := authenticate(); err != nil || !v.FromMemory {
						t.Errorf("got %+v, %v", v, err)
					}
					synctest.Wait()
				}
				want := tokencache.Stats{Hits: 4, Misses: 1, Loads: 2, Stored: 2, Refreshed: 1, Entries: 1}
				if fails {
					want.Errors, want.Stored, want.Refreshed = 1, 1, 0
				}
				if got := c.Stats(); got != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
				v, err := authenticate()
				if err != nil || (v.Record.Version == 2) == fails {
					t.Errorf("got %+v, %v", v, err)
				}
				time.Sleep(time.Minute) // past the first TTL
				if _, err := authenticate(); (err != nil) != fails {
					t.Errorf("past the TTL: got %v", err)
				}
			})
		})
	}
}

// TestBackoffBySource: after five failures in a row the source is left alone, for pauses
// that double to a second; the first success ends it, as does a change.
func TestBackoffBySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src, reads := newTestSource(token), 0
		outage := func(context.Context, tokencache.TokenID) error { reads++; return errOutage }
		src.before = outage
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
		failed := func(want tokencache.Reason) *tokencache.NoAnswerError {
			t.Helper()
			_, err := c.AuthenticateToken(t.Context(), token)
			noAnswer, _ := errors.AsType[*tokencache.NoAnswerError](err)
			if noAnswer == nil || noAnswer.Reason != want || !errors.Is(err, errOutage) {
				t.Fatalf("got %v, want %v", err, want)
			}
			return noAnswer
		}
		for range 5 {
			failed(tokencache.ReasonSourceFailed)
		}
		pause := 10 * time.Millisecond
		for range 12 {
			if got := failed(tokencache.ReasonUnavailable).RetryAfter; got != pause {
				t.Errorf("got a pause of %v, want %v", got, pause)
			}
			time.Sleep(pause - 1)
			failed(tokencache.ReasonUnavailable)
			time.Sleep(time.Nanosecond)
			failed(tokencache.ReasonSourceFailed)
			pause = min(2*pause, time.Second)
		}
		if reads != 17 {
			t.Errorf("got %d reads, want 17", reads)
		}
		src.before = nil
		failed(tokencache.ReasonUnavailable)
		src.caches.Clear(t.Context(), tokencache.CauseState)
		check(t, c, token, "ok")
		src.before = outage
		c.Clear(t.Context(), tokencache.CauseAsked)
		for range 5 { // counted from the start
			failed(tokencache.ReasonSourceFailed)
		}
		failed(tokencache.ReasonUnavailable)
	})
}

// TestLeaseIsLookedAt: from its end on, nothing is confirmed nor refused, in whatever way.
func TestLeaseIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, wrong := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token1", "wrong-secret")
		other := mustToken(t, "elastic/fleet-server/other", "supersecret")
		src := newTestSource(token, other)
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{})
		g.Lease(time.Now().Add(time.Minute))
		check(t, c, token, "ok")
		time.Sleep(time.Minute - 1)
		check(t, c, token, "ok")
		gate := newGate()
		src.before = gate.pass
		joined := []<-chan result{begin(t, c, other.String(), "supersecret")}
		time.Sleep(time.Nanosecond)
		for _, token := range []tokencache.Token{token, wrong, other} {
			if _, err := c.Authenticate(t.Context(), header(token)); reasonOf(err) != tokencache.ReasonLapsed {
				t.Errorf("%v: got %v, want that the lease has lapsed", token, err)
			}
		}
		g.Lease(time.Now().Add(time.Minute))
		check(t, c, token, "ok")
		g.Lease(time.Now().Add(-time.Minute))
		check(t, c, token, "error")
		g.Lease(time.Time{})
		joined = append(joined, begin(t, c, other.String(), "supersecret"))
		close(gate.open)
		for _, ch := range joined {
			expect(t, ch, nil)
		}
		if got := g.Stats().NoAnswer; got != 4 {
			t.Errorf("got %d without an answer, want 4", got)
		}
	})
}

// TestAbsence: that the source does not hold a name is remembered for a moment, for
// each secret, and each change that selects the name ends it.
func TestAbsence(t *testing.T) {
	token, other := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token1", "other-secret")
	for _, test := range []struct {
		name  string
		ends  bool
		event func(*testing.T, *testSource, *tokencache.Cache[record])
	}{
		{"nothing", false, func(*testing.T, *testSource, *tokencache.Cache[record]) {}},
		{"most of its time", false, func(*testing.T, *testSource, *tokencache.Cache[record]) { time.Sleep(5*time.Second - 1) }},
		{"its time", true, func(*testing.T, *testSource, *tokencache.Cache[record]) { time.Sleep(5 * time.Second) }},
		{"a change of another", false, func(t *testing.T, src *testSource, _ *tokencache.Cache[record]) {
			src.caches.Evict(t.Context(), tokencache.CauseSource, named(t, fleet, "token2"))
		}},
		{"a change", true, func(t *testing.T, src *testSource, _ *tokencache.Cache[record]) {
			src.caches.Evict(t.Context(), tokencache.CauseSource, named(t, fleet, "token1"))
		}},
		{"a change of the account", true, func(t *testing.T, src *testSource, _ *tokencache.Cache[record]) {
			src.caches.Evict(t.Context(), tokencache.CauseSource, all(t, fleet))
		}},
		{"a reload", true, func(t *testing.T, src *testSource, _ *tokencache.Cache[record]) {
			src.caches.Clear(t.Context(), tokencache.CauseState)
		}},
		{"an eviction", true, func(t *testing.T, _ *testSource, c *tokencache.Cache[record]) {
			c.Evict(t.Context(), tokencache.CauseAsked, named(t, fleet, "token1"))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newTestSource()
				c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
				for range 3 {
					for _, token := range []tokencache.Token{token, other} {
						_, err := c.Authenticate(t.Context(), header(token))
						if reasonOf(err) != tokencache.ReasonUnknownToken {
							t.Errorf("got %v, want an unknown token", err)
						}
						check(t, c, token, "refused")
					}
				}
				if got := c.Stats(); got.Absent != 11 || got.Loads != 1 || got.Entries != 0 || got.Refusals != 1 {
					t.Errorf("got %+v, want 11 refusals from memory", got)
				}
				src.set(token)
				test.event(t, src, c)
				want := map[bool]string{false: "refused", true: "ok"}[test.ends]
				check(t, c, token, want)
				if got := src.loadsOf(token.ID()); (got == 2) != test.ends {
					t.Errorf("got %d reads", got)
				}
			})
		})
	}
}

// TestAbsencesMakeRoom: of more than 10 000 the oldest is forgotten, and no
// success is displaced.
func TestAbsencesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource(mustToken(t, "good/good/good", "supersecret"))
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{MaxEntries: 1})
		good := mustToken(t, "good/good/good", "supersecret")
		check(t, c, good, "ok")
		unknown := func(i int) tokencache.Token { return mustToken(t, fmt.Sprintf("a/b/t%d", i), "supersecret") }
		for i := range 10_001 {
			c.AuthenticateToken(t.Context(), unknown(i))
		}
		check(t, c, unknown(1), "refused")
		check(t, c, unknown(10_000), "refused")
		if got := c.Stats(); got.Absent != 2 || got.Loads != 10_002 || got.Displaced != 0 || got.Entries != 1 {
			t.Errorf("got %+v", got)
		}
		check(t, c, unknown(0), "refused")
		check(t, c, good, "ok")
		if got := c.Stats(); got.Loads != 10_003 || got.Hits != 1 {
			t.Errorf("got %+v, want the oldest to be read again", got)
		}
	})
}
