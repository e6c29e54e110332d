package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/internal/suspend"
	"github.com/svctoken/svctoken/tokencache"
)

// TestHintsAreForTheirName: a secret that was good under one name is hashed in its turn
// under every other, and before its turn once under its own.
func TestHintsAreForTheirName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := []string{"a/a/good", "a/a/other", "b/b/busy"}
		src := newSlowSource(t, names...)
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Hour})
		c := newCache(t, g, "test", src, tokencache.Config{})
		evil := mustToken(t, "e/e/tok01", "evil-secret")
		src.set(evil)
		check(t, c, evil, "ok")
		src.remove(evil.ID())
		g.Clear(t.Context())
		var waiting []<-chan result
		for i := range 4 {
			waiting = append(waiting, begin(t, c, fmt.Sprintf("x%d/x/tok01", i), "supersecret"))
			src.set(mustToken(t, fmt.Sprintf("x%d/x/tok02", i), "supersecret"))
			waiting = append(waiting, begin(t, c, fmt.Sprintf("x%d/x/tok02", i), "evil-secret"))
		}
		for _, ch := range waiting {
			<-ch
		}
		before := len(src.hashed())
		busy := begin(t, c, "b/b/busy", "supersecret")
		var flood []<-chan result
		for i := range 20 { // names as long as evil's
			name := fmt.Sprintf("v%d/v/tok%02d", i%2, i)
			src.set(mustToken(t, name, "supersecret"))
			flood = append(flood, begin(t, c, name, "evil-secret"))
		}
		good := begin(t, c, "a/a/good", "supersecret")
		expect(t, good, nil)
		order := src.hashed()[before:] // others may have begun since
		if at := slices.IndexFunc(order, func(hash string) bool { return strings.HasPrefix(hash, "a/a/good") }); at < 0 || at > 5 {
			t.Errorf("the good token was hashed as number %d of %v", at+1, order)
		}
		<-busy
		for _, ch := range flood {
			<-ch
		}
	})
}

// TestALapsedLeaseWithholdsAll: a lease that lapses during a load withholds what the load
// has found out, whatever it is.
func TestALapsedLeaseWithholdsAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := newTestSource(token)
		src.before = func(context.Context, tokencache.TokenID) error { time.Sleep(2 * time.Second); return nil }
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{AbsentTTL: -1})
		for _, token := range []tokencache.Token{
			token, mustToken(t, "elastic/fleet-server/token1", "wrong-secret"), mustToken(t, "elastic/fleet-server/nobody", "supersecret"),
		} {
			g.Lease(time.Now().Add(time.Second))
			c.Clear(t.Context(), tokencache.CauseAsked)
			if _, err := c.AuthenticateToken(t.Context(), token); reasonOf(err) != tokencache.ReasonLapsed {
				t.Errorf("%v: got %v, want lapsed", token, err)
			}
		}
	})
}

// TestUnrelatedChanges: a wrong secret costs one read, whatever changes meanwhile for
// other accounts, in this source or another.
func TestUnrelatedChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, index := newTestSource(), newTestSource(mustToken(t, "a/b/c", "supersecret"))
		index.before = func(context.Context, tokencache.TokenID) error { time.Sleep(50 * time.Millisecond); return nil }
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		newCache(t, g, "file", file, tokencache.Config{AbsentTTL: -1})
		newCache(t, g, "index", index, tokencache.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		var changes sync.WaitGroup
		changes.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(10 * time.Millisecond)
				file.caches.Evict(t.Context(), tokencache.CauseSource, named(t, tokencache.Account{Namespace: "other", Service: "one"}, "x"))
			}
		})
		for i := range 20 {
			g.Authenticate(t.Context(), header(mustToken(t, "a/b/c", fmt.Sprintf("wrong-secret-%d", i))))
		}
		cancel()
		changes.Wait()
		if got := index.loadsOf(mustToken(t, "a/b/c", "supersecret").ID()); got > 25 {
			t.Errorf("%d reads for 20 wrong secrets", got)
		}
	})
}

// TestDisabledNamesCostNothing: that a name is disabled or expired is remembered for each
// source, and the next one is asked; any change of the name ends it.
func TestDisabledNamesCostNothing(t *testing.T) {
	for reason, answer := range map[tokencache.Reason]tokencache.Answer[record]{
		tokencache.ReasonDisabled: {Held: true, Disabled: true},
		tokencache.ReasonExpired:  {Held: true, Expires: time.Unix(1, 0)},
	} {
		t.Run(reason.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reads := 0
				var subs tokencache.Subscribers
				first := told{&subs, func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) {
					reads++
					return answer, nil
				}}
				token, wrong := mustToken(t, "a/b/c", "supersecret"), mustToken(t, "a/b/c", "wrong-secret")
				g := tokencache.NewGroup(tokencache.GroupConfig{})
				newCache(t, g, "first", first, tokencache.Config{})
				second := newTestSource()
				newCache(t, g, "second", second, tokencache.Config{})
				for range 50 {
					for _, token := range []tokencache.Token{token, wrong} {
						if _, err := g.Authenticate(t.Context(), header(token)); reasonOf(err) != reason {
							t.Errorf("got %v", err)
						}
					}
				}
				if n := second.loadsOf(token.ID()); reads != 1 || n != 1 {
					t.Errorf("%d and %d reads for 100 refusals", reads, n)
				}
				second.set(token)
				second.caches.Evict(t.Context(), tokencache.CauseSource, named(t, token.ID().Account, "c"))
				if v, err := g.Authenticate(t.Context(), header(token)); err != nil || v.Cache != "second" || reads != 1 {
					t.Errorf("got %v, %v, %d reads", v, err, reads)
				}
				subs.Evict(t.Context(), tokencache.CauseSource, named(t, token.ID().Account, "c"))
				if _, err := g.Authenticate(t.Context(), header(wrong)); reasonOf(err) != reason || reads != 2 {
					t.Errorf("after a change: got %v, %d reads", err, reads)
				}
			})
		})
	}
}

// told is a source that tells its caches.
type told struct {
	*tokencache.Subscribers
	asked asked
}

func (s told) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	return s.asked(ctx, id)
}
func (s told) Subscribe(inv tokencache.Invalidator) func() { return s.Add(inv) }

// TestStaleWhileTheSourceHangs: callers with deadlines get stale answers, all of them, until
// an eviction, or the source's no.
func TestStaleWhileTheSourceHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "a/b/c", "supersecret")
		src := newTestSource(token)
		c := solo(t, src, tokencache.Config{TTL: time.Minute, Jitter: -1, ServeStale: time.Hour})
		check(t, c, token, "ok")
		src.before = func(ctx context.Context, _ tokencache.TokenID) error { <-ctx.Done(); return ctx.Err() }
		time.Sleep(time.Minute)
		stale := 0
		for range 600 {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			start := time.Now()
			if v, err := c.AuthenticateToken(ctx, token); err == nil && v.Stale && time.Since(start) <= time.Second {
				stale++
			}
			cancel()
			time.Sleep(time.Second / 2)
		}
		if stale != 600 {
			t.Errorf("%d of 600 were answered", stale)
		}
		waits := async(t.Context(), c, token)
		time.Sleep(time.Second / 2)
		c.Evict(t.Context(), tokencache.CauseAsked, all(t, token.ID().Account))
		if r := <-waits; r.err == nil {
			t.Error("an evicted entry was served stale")
		}
	})
}

// TestCopies: callers of one failed load, and its observer, get errors of their own; an
// observer's map is not the caller's.
func TestCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []tokencache.Event
		var mu sync.Mutex
		g := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(_ context.Context, ev tokencache.Event) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, ev)
		}})
		src := newTestSource()
		gate := newGate()
		src.before = func(ctx context.Context, id tokencache.TokenID) error { gate.pass(ctx, id); panic("x") }
		c := newCache(t, g, "test", src, tokencache.Config{})
		token := mustToken(t, "a/b/c", "supersecret")
		a, b := async(t.Context(), c, token), async(t.Context(), c, token)
		synctest.Wait()
		close(gate.open)
		first, _ := errors.AsType[*tokencache.NoAnswerError]((<-a).err)
		second, _ := errors.AsType[*tokencache.NoAnswerError]((<-b).err)
		synctest.Wait()
		first.Cache, first.Stack[0] = "changed", '!'
		if second.Cache != "test" || second.Stack[0] == '!' || events[0].Err.(*tokencache.NoAnswerError).Cache != "test" {
			t.Error("a caller sees what another has written into its error")
		}
		sel := all(t, token.ID().Account)
		sels := []tokencache.Selector{sel}
		got := g.Evict(t.Context(), sels...)
		got["total"], sels[0] = 42, tokencache.Selector{}
		last := events[len(events)-1]
		if last.Evicted["total"] != 0 || !last.Selectors[0].Equal(sel) {
			t.Errorf("the observer's event has %v, %v", last.Evicted, last.Selectors)
		}
	})
}

// TestStacksShowNoArguments: a stack has functions, files and lines.
func TestStacksShowNoArguments(t *testing.T) {
	token := mustToken(t, "a/b/c", "supersecretsupersecretsupersecre")
	src := newTestSource(token)
	src.verify = func(s tokencache.Secret) bool { return panicsWith([32]byte([]byte(s.Reveal()))) }
	_, err := solo(t, src, tokencache.Config{}).AuthenticateToken(t.Context(), token)
	e, ok := errors.AsType[*tokencache.NoAnswerError](err)
	if !ok || !strings.Contains(string(e.Stack), "panicsWith\n\t") || !strings.Contains(string(e.Stack), "edges_test.go:") || strings.Contains(string(e.Stack), "0x73") {
		t.Errorf("got %v\n%s", err, e.Stack)
	}
}

//go:noinline
func panicsWith(words [32]byte) bool {
	return words[:][len(words)+int(words[0])] == 0 // there are not so many
}

// TestFarExpiry: a token that expires after its TTL is refreshed, served stale until it
// expires, and remembered since a known time.
func TestFarExpiry(t *testing.T) {
	for _, expires := range []time.Duration{0, 25 * time.Minute, 365 * 24 * time.Hour} {
		t.Run(expires.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				reads, fail := 0, false
				var at time.Time
				if expires > 0 {
					at = time.Now().Add(expires)
				}
				src := asked(func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) {
					reads++
					if fail {
						return tokencache.Answer[record]{}, errOutage
					}
					return tokencache.Answer[record]{Held: true, Expires: at, Verify: func(tokencache.Secret) bool { return true }}, nil
				})
				token := mustToken(t, "a/b/c", "supersecret")
				c := solo(t, src, tokencache.Config{TTL: 10 * time.Minute, Jitter: -1, RefreshAhead: 5 * time.Minute, ServeStale: time.Hour})
				start := time.Now()
				check(t, c, token, "ok")
				if since, until, ok := c.Remembers(token.ID()); !ok || !since.Equal(start) || !until.Equal(start.Add(10*time.Minute)) {
					t.Errorf("remembered since %v until %v, %v", since, until, ok)
				}
				time.Sleep(7 * time.Minute)
				check(t, c, token, "ok")
				synctest.Wait()
				if reads != 2 {
					t.Errorf("%d reads, want one ahead of the TTL", reads)
				}
				fail = true
				time.Sleep(17 * time.Minute) // 24 minutes after the start
				if v, err := c.AuthenticateToken(t.Context(), token); err != nil || !v.Stale {
					t.Errorf("got %v, stale %v", err, v.Stale)
				}
				time.Sleep(time.Minute)
				if _, err := c.AuthenticateToken(t.Context(), token); (err != nil) != (expires == 25*time.Minute) {
					t.Errorf("25 minutes after the start: got %v", err)
				}
			})
		})
	}
}

// TestTheLaterReadWins: what a read found that began earlier does not take the place of
// what a later one has found, a confirmation or a refusal.
func TestTheLaterReadWins(t *testing.T) {
	for _, now := range []string{"replaced", "removed"} {
		t.Run(now, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				old, renewed := mustToken(t, "a/b/c", "supersecret"), mustToken(t, "a/b/c", "newer-secret")
				src, gate := newTestSource(old), newGate()
				c := solo(t, src, tokencache.Config{})
				src.after = gate.pass
				first := async(t.Context(), c, old)
				synctest.Wait()
				src.after = nil
				want := "ok"
				if now == "replaced" {
					src.set(renewed) // and the source does not tell
				} else {
					src.remove(old.ID())
					want = "refused"
				}
				check(t, c, renewed, want)
				close(gate.open)
				if r := <-first; r.err != nil {
					t.Errorf("the first caller got %v", r.err)
				}
				check(t, c, renewed, want)
				check(t, c, old, "refused")
			})
		})
	}
}

// TestCancelThatIsNilOrPanics: neither ends the process.
func TestCancelThatIsNilOrPanics(t *testing.T) {
	for _, cancel := range []func(){nil, func() { panic("cancel") }} {
		g := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(context.Context, tokencache.Event) { panic("observer") }})
		token := mustToken(t, "a/b/c", "supersecret")
		c, err := tokencache.New(g, "test", tokencache.Source[record](ends{newTestSource(token), cancel}), tokencache.Config{})
		if err != nil {
			t.Fatal(err)
		}
		check(t, c, token, "ok")
		g.Close()
		if err := g.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

type ends struct {
	*testSource
	cancel func()
}

func (e ends) Subscribe(tokencache.Invalidator) func() { return e.cancel }

// TestMisuse is told apart from a refusal, in the same way with and without an observer.
func TestMisuse(t *testing.T) {
	for _, observer := range []func(context.Context, tokencache.Event){nil, func(context.Context, tokencache.Event) {}} {
		g := tokencache.NewGroup(tokencache.GroupConfig{Observer: observer})
		var none context.Context
		for what, call := range map[string]func(){"Evict": func() { g.Evict(none) }, "Clear": func() { g.Clear(none) }} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s without a context, observer %t: no panic", what, observer != nil)
					}
				}()
				call()
			}()
		}
	}
	var zero tokencache.Group
	token := mustToken(t, "a/b/c", "supersecret")
	_, err := zero.Authenticate(t.Context(), header(token))
	_, err2 := zero.AuthenticateToken(t.Context(), token)
	for _, err := range []error{err, err2} {
		if reasonOf(err) != tokencache.ReasonUnavailable || errors.Is(err, tokencache.ErrRefused) {
			t.Errorf("a zero group: got %v", err)
		}
	}
}

// TestCloseEndsEveryContext also of loads that are overdue and whose source has not seen it.
func TestCloseEndsEveryContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		src.before = func(ctx context.Context, _ tokencache.TokenID) error { <-ctx.Done(); return ctx.Err() }
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c, err := tokencache.New(g, "test", tokencache.Source[record](src), tokencache.Config{LoadTimeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		check(t, c, mustToken(t, "a/b/c", "supersecret"), "error") // overdue
		start := time.Now()
		g.Close()
		if err := g.Wait(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

// TestUsed: names and times of last use, once each, those that are gone included.
func TestUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := []string{"a/b/stays", "a/b/evicted", "a/b/displaced", "a/b/expired"}
		src := newTestSource()
		var tokens []tokencache.Token
		for _, name := range names {
			tokens = append(tokens, mustToken(t, name, "supersecret"))
			src.set(tokens[len(tokens)-1])
		}
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{TTL: time.Hour, MaxEntries: 3})
		used := func() map[string]time.Time {
			got := make(map[string]time.Time)
			for id, at := range c.Used() {
				got[id.Name] = at
			}
			return got
		}
		forget := func() {
			c.Evict(t.Context(), tokencache.CauseAsked, named(t, fleetOf(tokens[1]), "evicted"))
		}
		check(t, c, tokens[1], "ok")
		forget()
		if got := used(); len(got) != 0 {
			t.Errorf("before anybody asked: got %v", got)
		}
		for _, token := range tokens {
			check(t, c, token, "ok")
		}
		forget()
		got := used()
		if len(got) != 4 {
			t.Errorf("got %v, want all four", got)
		}
		for name, at := range got {
			if d := time.Since(at); d < 0 || d > 70*time.Second {
				t.Errorf("%s: used %v ago", name, d)
			}
		}
		if got := used(); len(got) != 0 {
			t.Errorf("nothing was used, and got %v", got)
		}
		time.Sleep(10 * time.Minute)
		check(t, c, tokens[0], "ok")
		if at, ok := used()["stays"]; !ok || time.Since(at) > 70*time.Second {
			t.Errorf("got %v, %v", at, ok)
		}
		check(t, c, tokens[0], "ok")
		for range c.Used() {
			break
		}
		check(t, c, tokens[1], "ok")
		for range c.Used() {
			break
		}
		if got := used(); len(got) != 0 && len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}

func fleetOf(token tokencache.Token) tokencache.Account { return token.ID().Account }

// TestTimeWhileTheMachineSleeps: what passes by the wall clock alone ends entries, tokens
// and leases; a clock that is set back changes nothing, and after a step ahead and back
// what is loaded expires in its time.
func TestTimeWhileTheMachineSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		step := time.Duration(0)
		ahead := func(d time.Duration) {
			step += d
			suspend.Pretend(step, 0)
		}
		defer suspend.Pretend(0, 0)
		token, mortal := mustToken(t, "a/b/c", "supersecret"), mustToken(t, "a/b/mortal", "supersecret")
		reads := 0
		src := asked(func(_ context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
			reads++
			a := tokencache.Answer[record]{Held: true, Verify: func(tokencache.Secret) bool { return true }}
			if id.Name == "mortal" {
				a.Expires = time.Now().Add(step).Round(0).Add(30 * time.Minute)
			}
			return a, nil
		})
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{TTL: 24 * time.Hour, Jitter: -1})
		load := func(want int) {
			t.Helper()
			reads = 0
			check(t, c, token, "ok")
			check(t, c, mortal, "ok")
			if reads != want {
				t.Errorf("%d reads, want %d", reads, want)
			}
		}
		load(2)
		ahead(time.Hour) // the machine slept
		time.Sleep(time.Second + time.Millisecond)
		load(1) // the mortal one
		ahead(26 * time.Hour)
		time.Sleep(time.Second + time.Millisecond)
		load(2)
		ahead(-26 * time.Hour) // the clock is set back
		time.Sleep(time.Second + time.Millisecond)
		load(0)
		time.Sleep(24 * time.Hour) // what was loaded after the step expires at its pace
		load(2)
		g.Lease(time.Now().Add(step).Round(0).Add(time.Minute)) // by the wall clock
		check(t, c, token, "ok")
		ahead(2 * time.Minute)
		check(t, c, token, "error")
		g.Lease(time.Time{})
	})
}
