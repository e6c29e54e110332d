package tokencache_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// Schedules in which one thing happens in the middle of another, beside those of
// schedule_test.go.

// asked is a source that is a function.
type asked func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error)

func (a asked) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	return a(ctx, id)
}

func (asked) Subscribe(tokencache.Invalidator) (cancel func()) { return func() {} }

// movingHolder has something happen once, before MayHold looks, and after it has
// looked and before it answers.
type movingHolder struct {
	holder
	before, after func()
}

func (m *movingHolder) MayHold(id tokencache.TokenID) bool {
	if before := m.before; before != nil {
		m.before = nil
		before()
	}
	held := m.holder.MayHold(id)
	if after := m.after; after != nil {
		m.after = nil
		after()
	}
	return held
}

// TestMoveAfterMayHold: the first source says at once that it does not hold a
// token, and the token moves to it before the second source is asked.
func TestMoveAfterMayHold(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	first, second := &movingHolder{holder: holder{newTestSource()}}, newTestSource(token)
	newCache(t, g, "first", first, tokencache.Config{})
	newCache(t, g, "second", second, tokencache.Config{})
	sel := named(t, fleet, "token1")
	first.after = func() {
		first.set(token)
		first.caches.Evict(t.Context(), tokencache.CauseSource, sel)
		second.remove(token.ID())
		second.caches.Evict(t.Context(), tokencache.CauseSource, sel)
	}
	if v, err := g.Authenticate(t.Context(), header(token)); err != nil || v.Cache != "first" {
		t.Errorf("got %+v, %v, want it from the first cache: it was always held", v, err)
	}
}

// TestMoveWhileRefusedFromMemory: the first source gains a token whose absence is
// remembered. An authentication has seen the absence right before the eviction, and
// finds that the second source does not hold the token, which has moved by then.
func TestMoveWhileRefusedFromMemory(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	first, second := newTestSource(), &movingHolder{holder: holder{newTestSource(token)}}
	c := newCache(t, g, "first", first, tokencache.Config{})
	newCache(t, g, "second", second, tokencache.Config{})
	check(t, c, token, "refused")
	first.set(token)
	looks, moved := make(chan struct{}), make(chan struct{})
	second.before = func() { close(looks); <-moved }
	type answer struct {
		v   tokencache.Verdict[any]
		err error
	}
	answers := make(chan answer)
	tokencache.EvictInSteps(g, tokencache.CauseSource, named(t, fleet, "token1"),
		func() {
			go func() {
				v, err := g.Authenticate(t.Context(), header(token))
				answers <- answer{v, err}
			}()
			<-looks
		},
		func() {
			second.remove(token.ID())
			close(moved)
			if a := <-answers; a.err != nil || a.v.Cache != "first" {
				t.Errorf("got %+v, %v, want it from the first cache: it was always held", a.v, a.err)
			}
		})
}

// TestTurnedAwayByItsOwnAccount: the only place to wait for a hash is taken by a
// load of the same account, whose secret was never good.
func TestTurnedAwayByItsOwnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := mustToken(t, "a/b/good", "supersecret"), mustToken(t, "a/b/bad", "never-good")
		x, y := mustToken(t, "x/x/x", "supersecret"), mustToken(t, "y/y/y", "supersecret")
		src := newTestSource(good, bad, x, y)
		var g *tokencache.Group
		g = tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxQueue: 1, Observer: func(context.Context, tokencache.Event) {
			g.Stats() // takes the mutex, which must be free
		}})
		c := newCache(t, g, "test", src, tokencache.Config{})
		check(t, c, good, "ok")
		c.Evict(t.Context(), tokencache.CauseAsked, all(t, good.ID().Account))
		open := make(chan struct{})
		src.verify = func(tokencache.Secret) bool { <-open; return true }
		var results []<-chan result
		for _, token := range []tokencache.Token{x, y, bad, good} {
			results = append(results, async(t.Context(), c, token))
			synctest.Wait()
		}
		if r := <-results[2]; !errors.Is(r.err, tokencache.ErrOverloaded) {
			t.Errorf("the secret that was never good got %v, want ErrOverloaded", r.err)
		}
		close(open)
		for _, i := range []int{0, 1, 3} {
			if r := <-results[i]; r.err != nil {
				t.Errorf("request %d: %v", i, r.err)
			}
		}
		if got := g.Stats(); got.Hashing != 0 || got.Waiting != 0 {
			t.Errorf("got %+v, want nothing left", got)
		}
	})
}

// TestEvictionAfterTurningAway: a load takes the place to wait from the only other
// load of its account, and is evicted while it reads.
func TestEvictionAfterTurningAway(t *testing.T) {
	for _, e := range evictions {
		t.Run(e.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				good, bad := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/bad", "never-good")
				p, x := newPair(t, good, bad), mustToken(t, "x/x/x", "supersecret")
				src := newTestSource(good, bad, x)
				g := tokencache.NewGroup(tokencache.GroupConfig{MaxQueue: 1})
				p.group, p.fileSrc = g, src
				p.fileCache = newCache(t, g, "file", src, tokencache.Config{MaxLoads: 1})
				p.idxCache = newCache(t, g, "index", p.indexSrc, tokencache.Config{})
				check(t, p.fileCache, good, "ok")
				e.evict(t, p)
				gates := map[tokencache.TokenID]gate{good.ID(): newGate(), bad.ID(): newGate(), x.ID(): newGate()}
				src.after = func(ctx context.Context, id tokencache.TokenID) error { return gates[id].pass(ctx, id) }
				var results []<-chan result
				for _, token := range []tokencache.Token{x, bad, good} {
					results = append(results, async(t.Context(), p.fileCache, token))
					synctest.Wait()
				}
				if r := <-results[1]; !errors.Is(r.err, tokencache.ErrOverloaded) {
					t.Errorf("the secret that was never good got %v, want ErrOverloaded", r.err)
				}
				close(gates[x.ID()].open)
				synctest.Wait() // the good one has read
				src.remove(good.ID())
				e.evict(t, p)
				close(gates[good.ID()].open)
				if r := <-results[2]; r.err != nil {
					t.Error(r.err)
				}
				check(t, p.fileCache, good, "refused")
			})
		})
	}
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
				c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src,
					tokencache.Config{TTL: time.Minute, Jitter: -1, AbsentTTL: -1, ServeStale: time.Hour})
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

// TestJoinedPastTheTokensExpiry: a load has read a token that expires before the
// load ends. Who came before the expiry is confirmed, and who comes after it is
// not, though the load still runs.
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
				c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
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

// TestUnlinkedIsDead: a hit has found its entry, the entry is unlinked for another
// reason than an eviction, and the name is evicted before the hit looks at the
// mark.
func TestUnlinkedIsDead(t *testing.T) {
	for _, test := range []struct {
		name   string
		unlink func(t *testing.T, c *tokencache.Cache[record], src *testSource, token tokencache.Token)
	}{
		{"displaced", func(t *testing.T, c *tokencache.Cache[record], src *testSource, _ tokencache.Token) {
			other := mustToken(t, "x/x/x", "supersecret")
			src.set(other)
			check(t, c, other, "ok")
		}},
		{"replaced", func(t *testing.T, c *tokencache.Cache[record], src *testSource, token tokencache.Token) {
			time.Sleep(time.Minute) // it is kept for stale answers
			check(t, c, token, "ok")
		}},
		{"expired", func(t *testing.T, c *tokencache.Cache[record], src *testSource, token tokencache.Token) {
			time.Sleep(3 * time.Hour)
			src.remove(token.ID())
			check(t, c, token, "refused")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
				src := newTestSource(token)
				c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src,
					tokencache.Config{MaxEntries: 1, TTL: time.Minute, Jitter: -1, AbsentTTL: -1, ServeStale: time.Hour})
				check(t, c, token, "ok")
				if tokencache.HitInSteps(c, token, func() {
					test.unlink(t, c, src, token)
					c.Evict(t.Context(), tokencache.CauseAsked, named(t, fleet, "token1"))
				}) {
					t.Error("a hit with the eviction in between")
				}
			})
		})
	}
}

// TestListIsOneInstant is TestEvictionIsOneInstant by the halves of a list of names:
// what is marked first does not go before the rest.
func TestListIsOneInstant(t *testing.T) {
	a, b := mustToken(t, "elastic/fleet-server/a", "supersecret"), mustToken(t, "elastic/fleet-server/b", "supersecret")
	p := newPair(t, a, b)
	p.warm(t, a, b)
	look := func() (hits int) {
		for _, c := range p.caches() {
			for _, token := range []tokencache.Token{a, b} {
				if tokencache.HitInSteps(c, token, func() {}) {
					hits++
				}
			}
		}
		return hits
	}
	var before, after int
	tokencache.EvictInSteps(p.group, tokencache.CauseAsked, named(t, fleet, "a", "b"), func() { before = look() }, func() { after = look() })
	if before != 4 || after != 0 {
		t.Errorf("got %d hits before the instant, %d after it, want 4 and 0", before, after)
	}
}
