package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

func TestGroupAsksInOrder(t *testing.T) {
	inFile := mustToken(t, "elastic/fleet-server/token1", "file-secret")
	inIndex := mustToken(t, "elastic/fleet-server/token1", "index-secret") // the same name, both work
	inBoth := mustToken(t, "elastic/fleet-server/both", "supersecret")
	onlyIndex := mustToken(t, "elastic/fleet-server/index", "supersecret")
	p := newPair(t)
	p.fileSrc.set(inFile)
	p.fileSrc.set(inBoth)
	for _, token := range []tokencache.Token{inIndex, inBoth, onlyIndex} {
		p.indexSrc.set(token)
	}
	for range 3 {
		for _, test := range []struct {
			token tokencache.Token
			cache string
		}{{inFile, "file"}, {inIndex, "index"}, {inBoth, "file"}, {onlyIndex, "index"}} {
			for name, authenticate := range map[string]func() (tokencache.Verdict[any], error){
				"header": func() (tokencache.Verdict[any], error) {
					return p.group.Authenticate(t.Context(), header(test.token))
				},
				"token": func() (tokencache.Verdict[any], error) {
					return p.group.AuthenticateToken(t.Context(), test.token)
				},
			} {
				v, err := authenticate()
				if err != nil || v.Cache != test.cache || v.Token != test.token.ID() || v.Record != (record{1}) {
					t.Errorf("%v by %s: got %+v, %v, want it from %q", test.token, name, v, err, test.cache)
				}
			}
		}
		_, err := p.group.AuthenticateToken(t.Context(), mustToken(t, "elastic/fleet-server/token1", "wrong-secret"))
		if !errors.Is(err, tokencache.ErrRefused) {
			t.Errorf("a wrong secret: got %v", err)
		}
	}
	if got := p.indexSrc.loadsOf(inBoth.ID()); got != 0 {
		t.Errorf("the second source was asked %d times for a token that the first confirms", got)
	}
}

// TestTheFirstThatRemembersAnswers: in whichever order they came to remember it.
func TestTheFirstThatRemembersAnswers(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	for _, last := range []string{"file", "index"} {
		p := newPair(t, token)
		order := p.caches()
		if last == "file" {
			slices.Reverse(order)
		}
		for _, c := range order {
			check(t, c, token, "ok")
		}
		if v, err := p.group.Authenticate(t.Context(), header(token)); err != nil || v.Cache != "file" || !v.FromMemory {
			t.Errorf("%s came last: got %+v, %v, want the first cache's memory", last, v, err)
		}
	}
}

func TestAnErrorEndsIt(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	p := newPair(t, token)
	outage := errors.New("outage")
	p.fileSrc.before = func(context.Context, tokencache.TokenID) error { return outage }
	if _, err := p.group.Authenticate(t.Context(), header(token)); !errors.Is(err, outage) {
		t.Errorf("got %v, want the outage", err)
	}
	if got := p.indexSrc.loadsOf(token.ID()); got != 0 {
		t.Errorf("the next source was asked %d times", got)
	}
}

func TestAuthorizationHeader(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	p := newPair(t, token)
	bearer := token.RevealBearer()
	for _, value := range []string{"Bearer " + bearer, "bearer " + bearer, "BEARER  " + bearer, "bEaReR " + bearer + "="} {
		if strings.HasSuffix(value, "=") != (len(bearer)%4 == 3) && strings.HasSuffix(value, "=") {
			continue // padding must complete the last four
		}
		for range 2 { // a miss, then a hit
			if _, err := p.group.Authenticate(t.Context(), value); err != nil {
				t.Errorf("%q: %v", value, err)
			}
		}
	}
	for _, value := range []string{"", "Bearer", "Bearer ", "Basic " + bearer, bearer, "Bearer\t" + bearer, "Bearers " + bearer, "Bearer " + bearer + " ", "ApiKey x"} {
		if _, err := p.group.Authenticate(t.Context(), value); !errors.Is(err, tokencache.ErrNotServiceToken) {
			t.Errorf("%q: got %v, want ErrNotServiceToken", value, err)
		}
	}
	short := "Bearer " + encode("\x00\x01\x00\x01elastic/fleet-server/token1:short")
	if _, err := p.group.Authenticate(t.Context(), short); !errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("a short secret: got %v, want ErrRefused", err)
	}
	if _, err := p.group.AuthenticateToken(t.Context(), tokencache.Token{}); !errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("the zero token: got %v, want ErrRefused", err)
	}
	if got := p.fileSrc.loadsOf(token.ID()); got != 1 {
		t.Errorf("got %d source reads, want 1", got)
	}
}

func TestLongBearer(t *testing.T) {
	long := strings.Repeat("x", 128)
	for _, n := range []int{10, 39, 40, 111, 112, 113, 500, 1024} {
		token := mustToken(t, long+"/"+long+"/"+long+long, strings.Repeat("s", n))
		wrong := mustToken(t, long+"/"+long+"/"+long+long, strings.Repeat("s", n-1)+"t")
		p := newPair(t, token)
		for range 2 {
			if _, err := p.group.Authenticate(t.Context(), header(token)); err != nil {
				t.Errorf("%d: %v", n, err)
			}
			if _, err := p.group.Authenticate(t.Context(), header(wrong)); !errors.Is(err, tokencache.ErrRefused) {
				t.Errorf("%d, wrong: %v", n, err)
			}
		}
	}
}

// TestEndlessMaxSecret: a bound that no bearer's length can be computed for bounds nothing.
func TestEndlessMaxSecret(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", strings.Repeat("s", 5000))
	for _, most := range []int{-1, 5000, math.MaxInt / 16, math.MaxInt / 2, math.MaxInt / 5 * 4, math.MaxInt - 1, math.MaxInt} {
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxSecret: most})
		newCache(t, g, "test", newTestSource(token), tokencache.Config{})
		if _, err := g.Authenticate(t.Context(), header(token)); err != nil {
			t.Errorf("MaxSecret %d: got %v", most, err)
		}
	}
}

// TestMaxSecret: of the secrets that a short name leaves room for in the longest
// bearer, those above the bound are refused before a source is asked.
func TestMaxSecret(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{MaxSecret: 20})
	src := newTestSource()
	newCache(t, g, "test", src, tokencache.Config{AbsentTTL: -1})
	for _, test := range []struct {
		length int
		want   tokencache.Reason
	}{
		{9, tokencache.ReasonSecretLength},
		{10, tokencache.ReasonUnknownToken},
		{20, tokencache.ReasonUnknownToken},
		{21, tokencache.ReasonSecretLength},
		{400, tokencache.ReasonSecretLength},
		{4000, tokencache.ReasonSecretLength},
	} {
		secret := strings.Repeat("s", test.length)
		_, err := g.Authenticate(t.Context(), "Bearer "+encode("\x00\x01\x00\x01a/b/c:"+secret))
		if reasonOf(err) != test.want {
			t.Errorf("%d bytes in a header: got %v, want %v", test.length, err, test.want)
		}
		if test.length < 10 {
			continue // no token can be made of it
		}
		if _, err := g.AuthenticateToken(t.Context(), mustToken(t, "a/b/c", secret)); reasonOf(err) != test.want {
			t.Errorf("%d bytes in a token: got %v, want %v", test.length, err, test.want)
		}
	}
	if got := src.loadsOf(tokencache.TokenID{Account: tokencache.Account{Namespace: "a", Service: "b"}, Name: "c"}); got != 4 {
		t.Errorf("the source was asked %d times, want 4", got)
	}
}

func TestKnownAccount(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	known := true
	g := tokencache.NewGroup(tokencache.GroupConfig{KnownAccount: func(a tokencache.Account) bool { return known && a == fleet }})
	src := newTestSource(token)
	newCache(t, g, "test", src, tokencache.Config{})
	other := mustToken(t, "elastic/other/token1", "supersecret")
	src.set(other)
	if _, err := g.Authenticate(t.Context(), header(other)); !errors.Is(err, tokencache.ErrRefused) || src.loadsOf(other.ID()) != 0 {
		t.Errorf("an unknown account: got %v after %d source reads", err, src.loadsOf(other.ID()))
	}
	if _, err := g.Authenticate(t.Context(), header(token)); err != nil {
		t.Error(err)
	}
	known = false // the host drops the account: what is remembered does not help
	if _, err := g.Authenticate(t.Context(), header(token)); !errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("an account that the host dropped: got %v", err)
	}
}

// TestMayHold: a source that says that it does not hold a token is not asked; it may
// gain the token at any time. What is remembered comes before all sources.
func TestMayHold(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	first := &holder{testSource: newTestSource()}
	newCache(t, g, "first", first, tokencache.Config{})
	newCache(t, g, "second", newTestSource(token), tokencache.Config{})
	expect := func(cache string) {
		t.Helper()
		if v, err := g.Authenticate(t.Context(), header(token)); err != nil || v.Cache != cache {
			t.Errorf("got %+v, %v, want it from %q", v, err, cache)
		}
	}
	expect("second")
	expect("second")
	if got := first.loadsOf(token.ID()); got != 0 {
		t.Errorf("the first source was asked %d times", got)
	}
	first.set(token)
	expect("second") // from memory
	g.Evict(t.Context(), all(t, fleet))
	expect("first")
	expect("first")
	if got := first.loadsOf(token.ID()); got != 1 {
		t.Errorf("the first source was asked %d times, want 1", got)
	}
	third := &holder{testSource: newTestSource()}
	newCache(t, g, "third", third, tokencache.Config{})
	unknown := mustToken(t, "elastic/fleet-server/unknown", "supersecret")
	if _, err := g.Authenticate(t.Context(), header(unknown)); reasonOf(err) != tokencache.ReasonUnknownToken {
		t.Errorf("got %v", err)
	}
	if got := first.loadsOf(unknown.ID()) + third.loadsOf(unknown.ID()); got != 0 {
		t.Errorf("the first and the third source were asked %d times", got)
	}
}

// TestMayHoldIsAskedNoMoreThanNeeded: of one cache alone, and of none that has refused.
func TestMayHoldIsAskedNoMoreThanNeeded(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	first, second := &counting{testSource: newTestSource()}, &counting{testSource: newTestSource(token)}
	newCache(t, g, "first", first, tokencache.Config{})
	c := newCache(t, g, "second", second, tokencache.Config{})
	check(t, c, token, "ok")
	if first.asked != 0 || second.asked != 1 {
		t.Errorf("by the second cache alone: the sources were asked %d and %d times, want 0 and 1", first.asked, second.asked)
	}
	c.Clear(t.Context(), tokencache.CauseAsked)
	if _, err := g.AuthenticateToken(t.Context(), token); err != nil || first.asked != 1 || second.asked != 3 {
		t.Errorf("got %v, and the sources were asked %d and %d times, want 1 and 3: before each load", err, first.asked, second.asked)
	}
}

// A counting source never knows what it holds.
type counting struct {
	*testSource
	asked int
}

func (c *counting) MayHold(tokencache.TokenID) bool { c.asked++; return true }

// A holder knows its tokens.
type holder struct{ *testSource }

func (h *holder) MayHold(id tokencache.TokenID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.tokens[id]
	return ok
}

// TestMoveWhileAsked: the token moves from the index to the file after the file was
// asked.
func TestMoveWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		p, gate := newPair(t), newGate()
		p.indexSrc.set(token)
		p.indexSrc.before = gate.pass
		done := make(chan error)
		go func() { _, err := p.group.AuthenticateToken(t.Context(), token); done <- err }()
		synctest.Wait()
		p.fileSrc.set(token)
		p.fileSrc.caches.Evict(t.Context(), tokencache.CauseSource, named(t, fleet, "token1"))
		p.indexSrc.remove(token.ID())
		p.indexSrc.caches.Evict(t.Context(), tokencache.CauseSource, named(t, fleet, "token1"))
		close(gate.open)
		if err := <-done; err != nil {
			t.Errorf("got %v for a token that was held all the time", err)
		}
	})
}

// TestEvictedWhileAnEarlierSourceIsAsked: of three caches all are asked, and what
// the last one held then does not matter once it was evicted.
func TestEvictedWhileAnEarlierSourceIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		first, second, third := newTestSource(), newTestSource(), newTestSource(token)
		newCache(t, g, "first", first, tokencache.Config{})
		newCache(t, g, "second", second, tokencache.Config{})
		c := newCache(t, g, "third", third, tokencache.Config{})
		check(t, c, token, "ok")
		v, err := g.AuthenticateToken(t.Context(), token)
		if err != nil || v.Cache != "third" || first.loadsOf(token.ID())+second.loadsOf(token.ID()) != 0 {
			t.Errorf("got %+v, %v", v, err)
		}
		third.remove(token.ID())
		gate := newGate()
		first.before = gate.pass
		other := mustToken(t, "elastic/fleet-server/token1", "other-secret")
		done := make(chan error)
		go func() { _, err := g.AuthenticateToken(t.Context(), other); done <- err }()
		synctest.Wait()
		g.Evict(t.Context(), all(t, fleet))
		close(gate.open)
		if err := <-done; reasonOf(err) != tokencache.ReasonUnknownToken {
			t.Errorf("got %v, want an unknown token", err)
		}
		if first.loadsOf(token.ID()) != 1 || second.loadsOf(token.ID()) != 1 || third.loadsOf(token.ID()) != 2 {
			t.Error("not every source was asked")
		}
	})
}

// TestRefreshAhead: a token in use is loaded again before its TTL ends, once; one that
// is not in use is not; a refresh that fails changes nothing.
func TestRefreshAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inUse, idle := mustToken(t, "elastic/fleet-server/used", "supersecret"), mustToken(t, "elastic/fleet-server/idle", "supersecret")
		src := newTestSource(inUse, idle)
		c := solo(t, src, tokencache.Config{TTL: 10 * time.Minute, Jitter: -1, RefreshAhead: 2 * time.Minute})
		check(t, c, inUse, "ok")
		check(t, c, idle, "ok")
		for range 12 * 60 {
			time.Sleep(time.Second)
			if v, err := c.AuthenticateToken(t.Context(), inUse); err != nil || !v.FromMemory {
				t.Fatalf("got %+v, %v, want it from memory all the time", v, err)
			}
		}
		synctest.Wait()
		if used, other := src.loadsOf(inUse.ID()), src.loadsOf(idle.ID()); used != 2 || other != 1 || c.Stats().Refreshed != 1 {
			t.Errorf("got %d and %d reads, %+v, want 2, 1 and 1 refreshed", used, other, c.Stats())
		}
		src.fail()
		tries := c.Stats().Errors
		for range 6*60 - 1 { // one refreshed at the first moment expires after 18 minutes
			time.Sleep(time.Second)
			check(t, c, inUse, "ok")
		}
		if got := c.Stats().Errors - tries; got != 1 {
			t.Errorf("a refresh that failed was tried %d times, want once", got)
		}
	})
}

// TestRefreshesAreSpread: entries that were loaded at one moment are each loaded again
// ahead of their expiry, once, at moments that are spread over the first quarter of the
// time for it. They are in use all the while, and have no jitter.
func TestRefreshesAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		src := newTestSource()
		var tokens []tokencache.Token
		for i := range n {
			tokens = append(tokens, mustToken(t, fmt.Sprintf("a/a/t%d", i), "supersecret"))
			src.set(tokens[i])
		}
		c := solo(t, src, tokencache.Config{TTL: 10 * time.Minute, Jitter: -1, RefreshAhead: 2 * time.Minute})
		use := func() {
			for _, token := range tokens {
				check(t, c, token, "ok")
			}
			synctest.Wait()
		}
		use()
		time.Sleep(8*time.Minute - time.Second)
		var most uint64 // in one second
		for range 32 {
			before := c.Stats().Loads
			use()
			most = max(most, c.Stats().Loads-before)
			time.Sleep(time.Second)
		}
		if got := c.Stats(); got.Loads != 2*n || got.Refreshed != n {
			t.Errorf("got %+v, want each loaded again once", got)
		}
		if most > n/4 {
			t.Errorf("%d of %d were loaded again in one second of 30", most, n)
		}
	})
}

// movingHolder makes something happen once, before MayHold looks, and after it has
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

// TestRefreshIsOneLoad: an entry in use is loaded again once before its time ends, in
// the background; if that fails, it stays for its time.
func TestRefreshIsOneLoad(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("fails ", fails), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
				src := newTestSource(token)
				c := solo(t, src, tokencache.Config{TTL: 10 * time.Minute, Jitter: -1, RefreshAhead: 2 * time.Minute})
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

// TestStoredMeanwhile: at each moment at which the host is asked whether it knows the
// account, somebody else has the token confirmed and remembered by one of two caches.
// It is not asked for again, and not taken for a wrong secret, even if the other cache
// remembers the name with another secret; and memory comes before a source that fails.
func TestStoredMeanwhile(t *testing.T) {
	token, old := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token1", "other-secret")
	for _, by := range []string{"first", "second"} {
		for _, remembered := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, another secret remembered %v", by, remembered), func(t *testing.T) {
				for moment, stored := 1, true; stored; moment++ {
					first, second, calls := newTestSource(token), newTestSource(token), 0
					store := func() {}
					g := tokencache.NewGroup(tokencache.GroupConfig{KnownAccount: func(tokencache.Account) bool {
						if calls++; calls == moment {
							store()
						}
						return true
					}})
					its, other, otherSrc := newCache(t, g, "first", first, tokencache.Config{}), newCache(t, g, "second", second, tokencache.Config{}), second
					if by == "second" {
						its, other, otherSrc = other, its, first
					}
					if remembered {
						otherSrc.set(old)
						check(t, other, old, "ok")
						otherSrc.set(token)
					}
					if by == "second" {
						first.fail()
					}
					calls, stored = 0, false
					store = func() {
						stored = true
						check(t, its, token, "ok")
					}
					before := first.loadsOf(token.ID()) + second.loadsOf(token.ID())
					v, err := g.Authenticate(t.Context(), header(token))
					if moment == 1 && !stored {
						t.Fatal("KnownAccount was not called")
					}
					if r, ok := v.Record.(record); stored && (!ok || r.Version == 0) {
						t.Errorf("stored in call %d of KnownAccount: got the record %+v", moment, v.Record)
					}
					if stored && (err != nil || !v.FromMemory || v.Cache != by || first.loadsOf(token.ID())+second.loadsOf(token.ID()) != before+1) {
						t.Errorf("stored in call %d of KnownAccount: got %+v, %v", moment, v, err)
					}
				}
			})
		}
	}
}

// TestChangeBeforeALoad: a source changes right before another one is asked. Nobody
// has refused the token so far, so there is no reason to begin again: it is asked once.
func TestChangeBeforeALoad(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	first := &movingHolder{holder: holder{newTestSource(token)}}
	c := newCache(t, g, "first", first, tokencache.Config{})
	newCache(t, g, "second", newTestSource(), tokencache.Config{})
	first.after = func() { first.caches.Evict(t.Context(), tokencache.CauseSource, named(t, fleet, "another")) }
	if _, err := g.AuthenticateToken(t.Context(), token); err != nil {
		t.Error(err)
	}
	if got, want := c.Stats(), (tokencache.Stats{Misses: 1, Loads: 1, Stored: 1, Entries: 1}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestChangeBeforeNoAnswer: the first source refuses the token and changes, and the
// second one is left alone as it has failed too often: that is the answer, and the first
// is not asked again for it.
func TestChangeBeforeNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		first, second := newTestSource(), &movingHolder{holder: holder{newTestSource(token)}}
		c := newCache(t, g, "first", first, tokencache.Config{AbsentTTL: -1})
		other := newCache(t, g, "second", second, tokencache.Config{MaxBackoff: time.Hour})
		second.fail()
		for range 5 {
			check(t, other, token, "error")
		}
		second.after = func() { c.Evict(t.Context(), tokencache.CauseSource, named(t, fleet, "another")) }
		if _, err := g.AuthenticateToken(t.Context(), token); reasonOf(err) != tokencache.ReasonUnavailable {
			t.Errorf("got %v, want that the second source is left alone", err)
		}
		if got := first.loadsOf(token.ID()); got != 1 {
			t.Errorf("the first source was asked %d times, want once", got)
		}
	})
}
