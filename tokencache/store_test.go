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

// TestAbsenceIsRemembered: a name that the source does not hold costs it one read in
// AbsentTTL, whatever the secret; not so what it holds.
func TestAbsenceIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource(mustToken(t, "elastic/fleet-server/held", "supersecret"))
		c := solo(t, src, tokencache.Config{})
		for i := range 10 {
			check(t, c, mustToken(t, "elastic/fleet-server/nobody", fmt.Sprintf("secret-number-%d", i)), "refused")
			check(t, c, mustToken(t, "elastic/fleet-server/held", fmt.Sprintf("secret-number-%d", i)), "refused")
		}
		nobody, held := src.loadsOf(fleet.TokenID("nobody")), src.loadsOf(fleet.TokenID("held"))
		if nobody != 1 || held != 10 || c.Stats().Absent != 9 || c.Stats().Entries != 0 {
			t.Errorf("got %d and %d reads, %+v, want 1, 10 and 9 absent", nobody, held, c.Stats())
		}
		time.Sleep(5 * time.Second)
		check(t, c, mustToken(t, "elastic/fleet-server/nobody", "supersecret"), "refused")
		if got := src.loadsOf(fleet.TokenID("nobody")); got != 2 {
			t.Errorf("got %d reads after AbsentTTL, want 2", got)
		}
	})
}

// TestAbsenceEndsWithAnyEviction: whatever selects the name ends it at once.
func TestAbsenceEndsWithAnyEviction(t *testing.T) {
	for _, e := range evictions {
		t.Run(e.name, func(t *testing.T) {
			token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
			p := newPair(t)
			check(t, p.fileCache, token, "refused")
			p.fileSrc.set(token)
			check(t, p.fileCache, token, "refused") // nobody has told
			e.evict(t, p)
			check(t, p.fileCache, token, "ok")
		})
	}
}

// TestAbsenceLoadedBeforeAnEviction: a load that has found nothing is in flight when
// the token is created; its absence is not remembered.
func TestAbsenceLoadedBeforeAnEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		p, gate := newPair(t), newGate()
		p.fileSrc.after = gate.pass
		early := async(t.Context(), p.fileCache, token)
		synctest.Wait()
		p.fileSrc.set(token)
		p.fileCache.Evict(t.Context(), tokencache.CauseSource, named(t, fleet, "token1"))
		close(gate.open)
		if r := <-early; !errors.Is(r.err, tokencache.ErrRefused) {
			t.Errorf("before the creation: got %+v", r)
		}
		check(t, p.fileCache, token, "ok")
	})
}

// TestStaleEndsWithItsToken: a load of before an eviction fails when what was loaded
// after the eviction has expired by itself, and is still there.
func TestStaleEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		late := newGate()
		first := true
		src := asked(func(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
			if first {
				first = false
				late.pass(ctx, id)
				return tokencache.Answer[record]{}, errOutage
			}
			return tokencache.Answer[record]{Held: true, Expires: time.Now().Add(time.Second / 2), Verify: token.Secret().Equal}, nil
		})
		c := solo(t, src, tokencache.Config{ServeStale: time.Hour})
		old := begin(t, c, token.String(), "supersecret")
		c.Evict(t.Context(), tokencache.CauseAsked, named(t, fleet, "token1"))
		check(t, c, token, "ok")
		time.Sleep(time.Second / 2)
		if got := c.Stats().Entries; got != 1 {
			t.Fatalf("%d entries are left, so the test shows nothing", got)
		}
		close(late.open)
		expect(t, old, errOutage)
	})
}

// TestServeStale: past its TTL a token is confirmed while the source fails, says so,
// and no longer than asked for; nor without being asked for.
func TestServeStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := newTestSource(token)
		c := solo(t, src, tokencache.Config{TTL: time.Minute, Jitter: -1, ServeStale: 10 * time.Minute, MaxBackoff: -1})
		check(t, c, token, "ok")
		src.fail()
		expect := func(stale bool) {
			t.Helper()
			if v, err := c.AuthenticateToken(t.Context(), token); err != nil || v.Stale != stale || v.Record.Version != 1 {
				t.Errorf("got %+v, %v, want it with Stale %v", v, err, stale)
			}
		}
		expect(false)
		time.Sleep(time.Minute)
		expect(true)
		check(t, c, mustToken(t, "elastic/fleet-server/token1", "wrong-secret"), "error")
		time.Sleep(9 * time.Minute)
		expect(true)
		if got := c.Stats().Stale; got != 2 {
			t.Errorf("got %d stale, want 2", got)
		}
		time.Sleep(time.Minute)
		check(t, c, token, "error")

		src.before = nil
		off := solo(t, src, tokencache.Config{TTL: time.Minute, MaxBackoff: -1})
		check(t, off, token, "ok")
		src.fail()
		time.Sleep(time.Minute)
		check(t, off, token, "error")
	})
}

// TestServeStaleWhileTheSourceIsLeftAlone: even if the source has failed so often
// that no load begins.
func TestServeStaleWhileTheSourceIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, other := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token2", "supersecret")
		src := newTestSource(token)
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{TTL: time.Minute, Jitter: -1, ServeStale: 10 * time.Minute, MaxBackoff: time.Hour})
		check(t, c, token, "ok")
		src.fail()
		time.Sleep(time.Minute)
		for range 5 {
			check(t, c, other, "error")
		}
		v, err := c.AuthenticateToken(t.Context(), token)
		if err != nil || !v.Stale || v.Token != token.ID() {
			t.Errorf("got %+v, %v, want a stale verdict", v, err)
		}
		if got := src.loadsOf(token.ID()); got != 1 || c.Stats().Stale != 1 {
			t.Errorf("got %d reads and %+v, want that the source is left alone", got, c.Stats())
		}
		if got := g.Stats(); got.Confirmed != 2 || got.NoAnswer != 5 {
			t.Errorf("got %+v, want 2 confirmed and 5 without an answer", got)
		}
	})
}

// TestTokenExpires: an entry never outlives its token, and is never stale.
func TestTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := &mortal{testSource: newTestSource(token), expires: time.Now().Add(time.Minute)}
		c := solo(t, src, tokencache.Config{ServeStale: time.Hour, RefreshAhead: time.Second})
		check(t, c, token, "ok")
		time.Sleep(time.Minute - 1)
		check(t, c, token, "ok")
		if got := src.loadsOf(token.ID()); got != 1 {
			t.Errorf("got %d reads, want 1", got)
		}
		time.Sleep(time.Nanosecond)
		_, err := c.AuthenticateToken(t.Context(), token)
		if refused, ok := errors.AsType[*tokencache.RefusedError](err); !ok || refused.Reason != tokencache.ReasonExpired {
			t.Errorf("got %v, want expired", err)
		}
		src.fail()
		time.Sleep(5 * time.Second) // until the refusal is forgotten
		check(t, c, token, "error")
	})
}

// A mortal source's tokens expire.
type mortal struct {
	*testSource
	expires time.Time
}

func (m *mortal) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	a, err := m.testSource.Lookup(ctx, id)
	a.Expires = m.expires
	return a, err
}

// TestStaleEndsWithTheToken: a success is past its time, and the source says to
// somebody with another secret that it does not hold the token any more.
func TestStaleEndsWithTheToken(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer tokencache.Answer[record]
		want   string
	}{
		{"not held", tokencache.Answer[record]{}, "error"},
		{"disabled", tokencache.Answer[record]{Held: true, Disabled: true}, "error"},
		{"expired", tokencache.Answer[record]{Held: true, Expires: time.Unix(1, 0)}, "error"},
		{"wrong secret", tokencache.Answer[record]{Held: true, Verify: func(tokencache.Secret) bool { return false }}, "ok"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token, other := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token1", "other-secret")
				answer, err := tokencache.Answer[record]{Held: true, Verify: token.Secret().Equal}, error(nil)
				src := asked(func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) { return answer, err })
				c := solo(t, src, tokencache.Config{TTL: time.Minute, Jitter: -1, AbsentTTL: -1, ServeStale: time.Hour})
				check(t, c, token, "ok")
				time.Sleep(2 * time.Minute)
				answer = test.answer
				check(t, c, other, "refused")
				err = errors.New("connection refused")
				check(t, c, token, test.want)
			})
		})
	}
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
			p.group.Evict(t.Context(), named(t, fleet, "token2"))
		}},
		{"an eviction", "error", func(t *testing.T, p *pair, _ *testSource) {
			p.group.Evict(t.Context(), named(t, fleet, "token1"))
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
				c := solo(t, src, tokencache.Config{})
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

// TestAbsenceOfTheLatestLoad: two loads of a name find nothing. It is remembered from the
// start of the later one.
func TestAbsenceOfTheLatestLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		src.before = func(context.Context, tokencache.TokenID) error { time.Sleep(2 * time.Second); return nil }
		c := solo(t, src, tokencache.Config{})
		a := begin(t, c, "a/a/a", "first-secret")
		time.Sleep(time.Second)
		b := begin(t, c, "a/a/a", "second-secret")
		expect(t, a, tokencache.ErrRefused)
		expect(t, b, tokencache.ErrRefused)
		time.Sleep(2500 * time.Millisecond) // 5.5 s after the first began, 4.5 s after the second
		check(t, c, mustToken(t, "a/a/a", "third-secret"), "refused")
		if got := c.Stats(); got.Loads != 2 || got.Absent != 1 {
			t.Errorf("got %+v, want it from memory", got)
		}
	})
}

// TestAbsencesMakeRoom: of more than 10 000 the oldest is forgotten, and no
// success is displaced.
func TestAbsencesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource(mustToken(t, "good/good/good", "supersecret"))
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{MaxEntries: 1})
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
		if got := tokencache.Linked(g); got != 10_000+1 {
			t.Errorf("%d entries are linked, want 10 000 absences and the token", got)
		}
		c.Clear(t.Context(), tokencache.CauseAsked)
		if got := tokencache.Linked(g); got != 0 {
			t.Errorf("%d entries are left after a clearing", got)
		}
	})
}

// TestAbsenceEndsWithASuccess: a load that began before the absence was remembered
// confirms the token after it, and is not remembered. An eviction then ends the absence.
func TestAbsenceEndsWithASuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, other := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token1", "other-secret")
		src, late := newTestSource(), newGate()
		src.before = late.pass
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{})
		first := begin(t, c, token.String(), "supersecret")
		src.before = nil
		check(t, c, other, "refused")
		src.set(token) // and nobody tells the cache
		close(late.open)
		expect(t, first, nil)
		if got := tokencache.Linked(g); got != 1 {
			t.Errorf("%d entries are linked, want the absence alone, which was read later", got)
		}
		src.set(token)
		c.Evict(t.Context(), tokencache.CauseAsked, named(t, fleet, "token1"))
		if v, err := c.Authenticate(t.Context(), header(token)); err != nil || v.Record.Version != 2 {
			t.Errorf("got %+v, %v, want it from the source again", v, err)
		}
	})
}

// TestAbsenceEndsWithALaterSuccess: a load that waits for its slot while the absence is
// remembered reads after it, and confirms the token. The success takes the absence's place.
func TestAbsenceEndsWithALaterSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src, late := newTestSource(), newGate()
		reads := 0
		src.before = func(ctx context.Context, id tokencache.TokenID) error {
			if reads++; reads == 1 {
				return late.pass(ctx, id)
			}
			src.set(token) // and nobody tells the cache
			return nil
		}
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 1})
		first := begin(t, c, token.String(), "other-secret")
		second := begin(t, c, token.String(), "supersecret")
		close(late.open)
		expect(t, first, tokencache.ErrRefused)
		expect(t, second, nil)
		if got := tokencache.Linked(g); got != 1 {
			t.Errorf("%d entries are linked, want the success alone", got)
		}
		if v, err := c.Authenticate(t.Context(), header(token)); err != nil || !v.FromMemory {
			t.Errorf("got %+v, %v, want the success from memory", v, err)
		}
	})
}

// TestStaleEndsWhileALoadRuns: the time of a stale answer is up between the begin of
// a load and its failure, and nothing has been swept.
func TestStaleEndsWhileALoadRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := newTestSource(token)
		c := solo(t, src, tokencache.Config{TTL: time.Minute, Jitter: -1, ServeStale: 500 * time.Millisecond})
		check(t, c, token, "ok")
		src.before = func(context.Context, tokencache.TokenID) error {
			time.Sleep(200 * time.Millisecond)
			return errOutage
		}
		time.Sleep(time.Minute + 200*time.Millisecond)
		check(t, c, token, "ok") // stale, 400 ms past its time
		check(t, c, token, "error")
		if got := c.Stats().Entries; got != 1 {
			t.Errorf("%d entries are left, so the test shows nothing", got)
		}
	})
}

// TestFailsBesideASuccess: a load that an eviction has taken off the register fails, when
// a later one, of this cache or of another, has had the token remembered. Its caller gets
// that, and it is not stale.
func TestFailsBesideASuccess(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	for _, test := range []struct {
		name  string
		later string // the cache that remembers the token by then
		cfg   tokencache.Config
	}{
		{"same cache", "test", tokencache.Config{}},
		{"same cache, serve stale", "test", tokencache.Config{ServeStale: time.Hour}},
		{"another cache", "other", tokencache.Config{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := beginFailure(t, token, test.cfg)
				check(t, f.caches[test.later], token, "ok")
				v, err := f.end()
				want := tokencache.Verdict[any]{Token: token.ID(), Cache: test.later, Record: record{Version: 1}, FromMemory: true}
				if err != nil || v != want {
					t.Errorf("got %+v, %v, want %+v", v, err, want)
				}
				if got := f.group.Stats(); got.Confirmed != 2 || got.NoAnswer != 0 {
					t.Errorf("got %+v, want 2 confirmed of 2", got)
				}
				if got := f.caches[test.later].Stats(); got.Hits != 1 || got.Stale != 0 || got.Entries != 1 {
					t.Errorf("got %+v, want one hit, not stale", got)
				}
			})
		})
	}
}

// TestFailsAfterALapse: what is remembered does not answer for a load that has failed once
// the group's lease has lapsed.
func TestFailsAfterALapse(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	for _, stale := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			f := beginFailure(t, token, tokencache.Config{ServeStale: stale})
			check(t, f.caches["test"], token, "ok")
			f.group.Lease(time.Now().Add(-time.Second))
			if v, err := f.end(); !errors.Is(err, errOutage) || v != (tokencache.Verdict[any]{}) {
				t.Errorf("ServeStale %v: got %+v, %v, want %v", stale, v, err, errOutage)
			}
			if got := f.group.Stats(); got.Confirmed != 1 || got.NoAnswer != 1 {
				t.Errorf("ServeStale %v: got %+v, want one of 2 confirmed", stale, got)
			}
			if got := f.caches["test"].Stats(); got.Hits != 0 || got.Stale != 0 || got.Entries != 1 {
				t.Errorf("ServeStale %v: got %+v, want no hit", stale, got)
			}
		})
	}
}

// A failure is a load of the cache test that will fail, and was evicted. Loads that begin
// after it succeed.
type failure struct {
	group  *tokencache.Group
	caches map[string]*tokencache.Cache[record]
	end    func() (tokencache.Verdict[any], error) // ends the load, and returns its caller's answer
}

func beginFailure(t *testing.T, token tokencache.Token, cfg tokencache.Config) *failure {
	g, gate := tokencache.NewGroup(tokencache.GroupConfig{}), newGate()
	src := newTestSource(token)
	src.before = func(ctx context.Context, id tokencache.TokenID) error { gate.pass(ctx, id); return errOutage }
	caches := map[string]*tokencache.Cache[record]{
		"test":  newCache(t, g, "test", src, cfg),
		"other": newCache(t, g, "other", newTestSource(token), cfg),
	}
	var verdict tokencache.Verdict[any]
	var err error
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		verdict, err = g.AuthenticateToken(t.Context(), token)
	}()
	synctest.Wait()
	caches["test"].Evict(t.Context(), tokencache.CauseAsked, named(t, fleet, "token1"))
	src.before = nil
	return &failure{g, caches, func() (tokencache.Verdict[any], error) {
		close(gate.open)
		<-answered
		return verdict, err
	}}
}

// TestDisabledAndExpired: of two reasons the first counts.
func TestDisabledAndExpired(t *testing.T) {
	c := solo(t, asked(func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) {
		return tokencache.Answer[record]{Held: true, Disabled: true, Expires: time.Now().Add(-time.Hour)}, nil
	}), tokencache.Config{})
	if _, err := c.AuthenticateToken(t.Context(), mustToken(t, "a/a/a", "supersecret")); reasonOf(err) != tokencache.ReasonDisabled {
		t.Errorf("got %v, want disabled", err)
	}
}

// TestAbsenceInOneOfTwo: one source is asked again, and the absence that the other
// cache remembers is no wrong secret.
func TestAbsenceInOneOfTwo(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	p := newPair(t)
	for range 3 {
		if _, err := p.group.Authenticate(t.Context(), header(token)); reasonOf(err) != tokencache.ReasonUnknownToken {
			t.Errorf("got %v, want an unknown token", err)
		}
		p.idxCache.Clear(t.Context(), tokencache.CauseAsked)
	}
	if file, index := p.fileCache.Stats(), p.idxCache.Stats(); file.Loads != 1 || file.Absent != 2 || file.Mismatches != 0 || index.Loads != 3 {
		t.Errorf("got %+v and %+v", file, index)
	}
}
