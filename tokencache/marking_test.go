package tokencache_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestMarkingIsLinear: an eviction takes time in proportion to its names and to the
// loads in flight, not to their product, whether its names are in one selector or each
// in one of its own.
func TestMarkingIsLinear(t *testing.T) {
	const loads, names, most = 2000, 10_000, 20
	src, gate := newTestSource(), newGate()
	src.before = gate.pass
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c := newCache(t, g, "test", src, tokencache.Config{})
	var waiting sync.WaitGroup
	for i := range loads {
		waiting.Go(func() {
			c.AuthenticateToken(context.Background(), mustToken(t, fmt.Sprintf("a/b/load%d", i), "supersecret"))
		})
	}
	defer waiting.Wait()
	defer close(gate.open)
	for c.Stats().Misses < loads {
	}
	account := tokencache.Account{Namespace: "a", Service: "b"}
	list, each := make([]string, names), make([]tokencache.Selector, names)
	for i := range list {
		list[i] = fmt.Sprintf("name%d", i)
		each[i] = named(t, account, list[i])
	}
	one, all := time.Hour, time.Hour // the shortest so far: others may run meanwhile
	evict := func(shortest *time.Duration, sels ...tokencache.Selector) {
		start := time.Now()
		g.Evict(t.Context(), sels...)
		*shortest = min(*shortest, time.Since(start))
	}
	for range 50 {
		evict(&one, named(t, account, list...))
		evict(&all, each...)
		if all <= most*one {
			return
		}
	}
	t.Errorf("%d selectors beside %d loads took %v, and one selector of as many names %v", names, loads, all, one)
}

// TestSelectorsOfOneAccount: several selectors of one account select what each of them
// does, in any order.
func TestSelectorsOfOneAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := tokencache.Account{Namespace: "a", Service: "a"}, tokencache.Account{Namespace: "b", Service: "b"}
		for _, test := range []struct {
			sels []tokencache.Selector
			gone int // of a's three tokens, and b's
		}{
			{[]tokencache.Selector{named(t, a, "x"), named(t, a, "y")}, 2},
			{[]tokencache.Selector{named(t, a, "x"), named(t, b, "x"), named(t, a, "x", "z")}, 3},
			{[]tokencache.Selector{all(t, a), named(t, a, "x")}, 3},
			{[]tokencache.Selector{named(t, a, "x"), all(t, a), named(t, a, "y"), named(t, b, "nobody")}, 3},
			{[]tokencache.Selector{named(t, a, "z"), {}, named(t, a, "y"), {}}, 2},
		} {
			src := newTestSource()
			c := solo(t, src, tokencache.Config{})
			for _, name := range []string{"a/a/x", "a/a/y", "a/a/z", "b/b/x"} {
				token := mustToken(t, name, "supersecret")
				src.set(token)
				check(t, c, token, "ok")
			}
			if got := c.Evict(t.Context(), tokencache.CauseAsked, test.sels...); got != test.gone {
				t.Errorf("%v: %d went, want %d", test.sels, got, test.gone)
			}
		}
	})
}
