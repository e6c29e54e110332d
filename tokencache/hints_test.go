package tokencache_test

import (
	"fmt"
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
					g.Clear(t.Context(), tokencache.CauseAsked)
				case "evicted":
					g.Evict(t.Context(), tokencache.CauseAsked, named(t, src.account("a/a/x"), "good"))
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
