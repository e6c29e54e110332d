package tokencache_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestClearUnderFloodCostsOneHashEach: the tokens of a cleared cache come before
// wrong secrets for their own names.
func TestClearUnderFloodCostsOneHashEach(t *testing.T) {
	for _, how := range []string{"cleared", "evicted", "expired", "displaced"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := newSlowSource(t, "a/a/good", "a/a/other")
				g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Hour})
				c := newCache(t, g, "test", src, tokencache.Config{MaxEntries: 1, TTL: time.Minute})
				expect(t, begin(t, c, "a/a/good", "supersecret"), nil)
				switch how {
				case "cleared":
					g.Clear(t.Context())
				case "evicted":
					g.Evict(t.Context(), named(t, src.account("a/a/x"), "good"))
				case "expired":
					time.Sleep(2 * time.Minute)
				case "displaced":
					expect(t, begin(t, c, "a/a/other", "supersecret"), nil)
				}
				var flood []<-chan result
				for i := range 20 {
					flood = append(flood, begin(t, c, "a/a/good", fmt.Sprintf("wrong-secret-%d", i)))
				}
				start := time.Now()
				expect(t, begin(t, c, "a/a/good", "supersecret"), nil)
				if waited := time.Since(start); waited > 2*time.Second {
					t.Errorf("waited for %v, want one hash of another and its own", waited)
				}
				for _, ch := range flood {
					expect(t, ch, tokencache.ErrRefused)
				}
			})
		})
	}
}

// TestHintsAreBounded: clearing a large cache does not keep the digests of all that was
// in it.
func TestHintsAreBounded(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c, err := tokencache.New(g, "test", open{}, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 17_000 {
		g.AuthenticateToken(t.Context(), mustToken(t, fmt.Sprintf("a/a/%d", i), fmt.Sprintf("secret-%08d", i)))
	}
	g.Clear(t.Context())
	if got := tokencache.Hints(g); got != 1<<14 {
		t.Errorf("got %d hints, want %d", got, 1<<14)
	}
}

// TestHintsOutlastTheRefusalsOfOthers: before the source that holds the cleared token,
// another one is asked, which does not hold it. The token comes before wrong secrets for
// its name, each time.
func TestHintsOutlastTheRefusalsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Hour})
		newCache(t, g, "first", newTestSource(), tokencache.Config{AbsentTTL: -1})
		newCache(t, g, "second", newSlowSource(t, "a/a/good"), tokencache.Config{})
		good := mustToken(t, "a/a/good", "supersecret")
		if _, err := g.AuthenticateToken(t.Context(), good); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			g.Clear(t.Context())
			var flood sync.WaitGroup
			for i := range 20 {
				flood.Go(func() {
					_, err := g.AuthenticateToken(t.Context(), mustToken(t, "a/a/good", fmt.Sprintf("wrong-secret-%d", i)))
					if !errors.Is(err, tokencache.ErrRefused) {
						t.Errorf("got %v", err)
					}
				})
			}
			synctest.Wait()
			start := time.Now()
			if v, err := g.AuthenticateToken(t.Context(), good); err != nil || v.Cache != "second" {
				t.Errorf("got %+v, %v", v, err)
			}
			if waited := time.Since(start); waited > 2*time.Second {
				t.Errorf("waited for %v, want one hash of another and its own", waited)
			}
			flood.Wait()
		}
	})
}

// TestHintsAreNoAnswers: a secret that was good is refused once it is not.
func TestHintsAreNoAnswers(t *testing.T) {
	src := newTestSource(mustToken(t, "a/a/a", "supersecret"))
	c := solo(t, src, tokencache.Config{})
	check(t, c, mustToken(t, "a/a/a", "supersecret"), "ok")
	src.set(mustToken(t, "a/a/a", "another-secret"))
	c.Clear(t.Context(), tokencache.CauseAsked)
	for range 2 {
		check(t, c, mustToken(t, "a/a/a", "supersecret"), "refused")
	}
	check(t, c, mustToken(t, "a/a/a", "another-secret"), "ok")
}

// TestHintsEndWithARefusal: a secret that was good, and that its source has refused
// since, waits like any other.
func TestHintsEndWithARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t, "a/a/t")
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Hour}), "test", src, tokencache.Config{})
		expect(t, begin(t, c, "a/a/t", "supersecret"), nil)
		src.set(mustToken(t, "a/a/t", "another-secret"))
		c.Clear(t.Context(), tokencache.CauseAsked)
		expect(t, begin(t, c, "a/a/t", "supersecret"), tokencache.ErrRefused)
		start := time.Now()
		var flood []<-chan result
		for i := range 3 {
			flood = append(flood, begin(t, c, "a/a/t", fmt.Sprintf("wrong-secret-%d", i)))
		}
		expect(t, begin(t, c, "a/a/t", "supersecret"), tokencache.ErrRefused)
		if waited := time.Since(start); waited != 4*time.Second {
			t.Errorf("refused after %v, want the four hashes in the order in which they came", waited)
		}
		for _, ch := range flood {
			expect(t, ch, tokencache.ErrRefused)
		}
	})
}
