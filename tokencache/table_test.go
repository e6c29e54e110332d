package tokencache_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// TestTheTableGrows while it is read: nothing that was stored is loaded again.
func TestTheTableGrows(t *testing.T) {
	const tokens = 3000
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c, err := tokencache.New(g, "test", open{}, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	token := func(i int) tokencache.Token {
		return mustToken(t, fmt.Sprintf("a/a/%d", i), "supersecret")
	}
	var wg sync.WaitGroup
	for i := range tokens {
		g.AuthenticateToken(t.Context(), token(i))
		if i%500 == 0 {
			wg.Go(func() {
				for k := range i {
					if v, err := g.Authenticate(t.Context(), header(token(k))); err != nil || !v.FromMemory {
						t.Errorf("%d of %d: got %+v, %v", k, i, v, err)
					}
				}
			})
		}
	}
	wg.Wait()
	for i := range tokens {
		if !tokencache.HitInSteps(c, token(i), func() {}) {
			t.Errorf("%d is not found", i)
		}
	}
	if got := c.Stats(); got.Loads != tokens || got.Entries != tokens {
		t.Errorf("got %+v", got)
	}
}
