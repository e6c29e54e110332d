package tokencache_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// rotating answers for every name with a present secret and a previous one, which is
// good until the grace ends.
type rotating struct {
	tokencache.Subscribers
	present, previous string
	ends              time.Time
	fast              bool
	loads, hashes     int
}

func (s *rotating) Lookup(context.Context, tokencache.TokenID) (tokencache.Answer[record], error) {
	s.loads++
	a := tokencache.Answer[record]{Held: true, Fast: s.fast, Verify: s.is(s.present)}
	if s.previous != "" {
		a.Previous.Verify, a.Previous.Expires = s.is(s.previous), s.ends
	}
	return a, nil
}

func (s *rotating) is(want string) func(tokencache.Secret) bool {
	return func(got tokencache.Secret) bool {
		s.hashes++
		return got.Equal(tokencache.NewSecret(want))
	}
}

func (s *rotating) Subscribe(inv tokencache.Invalidator) func() { return s.Add(inv) }

// TestTwoGoodSecrets: both are remembered, in either order, and a third is refused: from
// memory as soon as both are there.
func TestTwoGoodSecrets(t *testing.T) {
	for _, fast := range []bool{false, true} {
		for _, order := range [][2]string{{"present-secret", "previous-secret"}, {"previous-secret", "present-secret"}} {
			t.Run(fmt.Sprint(fast, order), func(t *testing.T) {
				src := &rotating{present: "present-secret", previous: "previous-secret", fast: fast}
				g := tokencache.NewGroup(tokencache.GroupConfig{})
				c := newCache(t, g, "test", src, tokencache.Config{})
				first, second := mustToken(t, "a/b/c", order[0]), mustToken(t, "a/b/c", order[1])
				third := mustToken(t, "a/b/c", "third-secret")
				check(t, c, first, "ok")
				check(t, c, third, "refused") // asked: another one may be good
				check(t, c, second, "ok")
				check(t, c, third, "refused")
				for range 3 {
					for _, token := range []tokencache.Token{first, second} {
						v, err := g.Authenticate(t.Context(), header(token))
						if err != nil || !v.FromMemory {
							t.Errorf("got %v, from memory %v", err, v.FromMemory)
						}
					}
					if _, err := g.Authenticate(t.Context(), header(third)); reasonOf(err) != tokencache.ReasonWrongSecret {
						t.Errorf("got %v", err)
					}
				}
				if src.loads != 3 {
					t.Errorf("got %d loads, want 3", src.loads)
				}
				if n := c.Evict(t.Context(), tokencache.CauseSource, named(t, first.ID().Account, "c")); n != 2 {
					t.Errorf("an eviction took %d entries, want both", n)
				}
				check(t, c, first, "ok")
				if src.loads != 4 {
					t.Errorf("got %d loads, want 4", src.loads)
				}
			})
		}
	}
}

// TestTheGraceEnds: the previous secret is refused from then on, from memory, and the
// present one is confirmed all the while.
func TestTheGraceEnds(t *testing.T) {
	for _, told := range []bool{false, true} {
		t.Run(fmt.Sprint("replaced earlier: ", told), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &rotating{present: "present-secret", previous: "previous-secret", ends: time.Now().Add(time.Minute)}
				c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
				now, before := mustToken(t, "a/b/c", "present-secret"), mustToken(t, "a/b/c", "previous-secret")
				check(t, c, now, "ok")
				check(t, c, before, "ok")
				time.Sleep(59 * time.Second)
				check(t, c, before, "ok")
				if told {
					src.previous = ""
					src.Evict(t.Context(), tokencache.CauseSource, named(t, now.ID().Account, "c"))
				} else {
					time.Sleep(time.Second)
				}
				check(t, c, before, "refused")
				check(t, c, now, "ok")
				loads := src.loads
				for range 3 {
					check(t, c, before, "refused")
					check(t, c, now, "ok")
				}
				if src.loads != loads {
					t.Errorf("%d loads once the present secret is the only one", src.loads-loads)
				}
			})
		})
	}
}

// TestRotatedFromOneSecret: a source that tells of a rotation lets both in, one that
// does not is asked for the new secret when the TTL ends.
func TestRotatedFromOneSecret(t *testing.T) {
	src := &rotating{present: "first-secret"}
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
	check(t, c, mustToken(t, "a/b/c", "first-secret"), "ok")
	src.present, src.previous = "second-secret", "first-secret"
	src.Evict(t.Context(), tokencache.CauseSource, named(t, mustToken(t, "a/b/c", "first-secret").ID().Account, "c"))
	for range 2 {
		check(t, c, mustToken(t, "a/b/c", "first-secret"), "ok")
		check(t, c, mustToken(t, "a/b/c", "second-secret"), "ok")
	}
}

// TestFastHashesTakeNoTurn: while every turn is taken and nothing may wait, a hash that
// is cheap by its form is computed.
func TestFastHashesTakeNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		busy := make(chan struct{})
		src := asked(func(_ context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
			a := tokencache.Answer[record]{Held: true, Fast: id.Name == "fast"}
			a.Verify = func(tokencache.Secret) bool {
				if !a.Fast {
					<-busy
				}
				return true
			}
			return a, nil
		})
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxQueue: 1})
		c := newCache(t, g, "test", src, tokencache.Config{})
		var slow []<-chan result
		for i := range 4 {
			slow = append(slow, begin(t, c, fmt.Sprintf("a%d/b/slow", i), "supersecret"))
		}
		synctest.Wait()
		hashing := g.Stats()
		check(t, c, mustToken(t, "a/b/fast", "supersecret"), "ok")
		if got := g.Stats(); got.Hashing != hashing.Hashing || got.Waiting != hashing.Waiting {
			t.Errorf("got %+v, had %+v", got, hashing)
		}
		close(busy)
		for _, r := range slow {
			<-r
		}
	})
}

// TestHideNamesWithBothForms: a refusal computes one hash of each form, whether the
// token is held, in which form, or disabled.
func TestHideNamesWithBothForms(t *testing.T) {
	var fast, slow int
	answer := func(isFast, ok bool) tokencache.Answer[record] {
		n := &slow
		if isFast {
			n = &fast
		}
		return tokencache.Answer[record]{Held: true, Fast: isFast, Verify: func(tokencache.Secret) bool { *n++; return ok }}
	}
	answers := map[string]tokencache.Answer[record]{
		"fast": answer(true, false), "slow": answer(false, false),
		"disabled": {Held: true, Disabled: true}, "expired": {Held: true, Expires: time.Now().Add(-time.Hour)},
		"goodfast": answer(true, true), "goodslow": answer(false, true),
	}
	src := asked(func(_ context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
		return answers[id.Name], nil
	})
	c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{HideNames: true})
	check(t, c, mustToken(t, "a/b/goodfast", "supersecret"), "ok")
	check(t, c, mustToken(t, "a/b/goodslow", "supersecret"), "ok")
	for _, name := range []string{"fast", "slow", "disabled", "expired", "nobody"} {
		fast, slow = 0, 0
		check(t, c, mustToken(t, "a/b/"+name, "supersecret"), "refused")
		if fast != 1 || slow != 1 {
			t.Errorf("%s: %d fast and %d slow hashes, want one of each", name, fast, slow)
		}
	}
}

// TestSentinels: errors that callers compare are constants, and differ.
func TestSentinels(t *testing.T) {
	seen := map[error]bool{}
	for _, err := range []error{
		tokencache.ErrNotServiceToken, tokencache.ErrRefused, tokencache.ErrOverloaded,
		tokencache.ErrClosed, tokencache.ErrNotFound, tokencache.ErrExists,
	} {
		if seen[err] {
			t.Errorf("%v twice", err)
		}
		seen[err] = true
	}
}
