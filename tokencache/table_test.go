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
	// The next array is made beside the loads, and takes over with each of them.
	for i := tokens; ; i++ {
		n, left := tokencache.Buckets(g)
		if 4*n >= i && left == 0 {
			break
		}
		if i == 10*tokens {
			t.Fatalf("got %d buckets for %d tokens, and %d to take over", n, i, left)
		}
		g.AuthenticateToken(t.Context(), token(i))
	}
	g.Clear(t.Context())
	if n, _ := tokencache.Buckets(g); n != 64 {
		t.Errorf("got %d buckets when nothing is remembered any more, want 64", n)
	}
}

// TestTheTableStaysSmall: an account that comes and goes needs no more of it.
func TestTheTableStaysSmall(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c, err := tokencache.New(g, "test", open{}, tokencache.Config{MaxEntries: 64})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 200 {
		g.AuthenticateToken(t.Context(), mustToken(t, fmt.Sprintf("a/a/%d", i), "supersecret"))
	}
	if n, left := tokencache.Buckets(g); n != 64 || left != 0 {
		t.Errorf("got %d buckets, and %d to take over, want 64, for 64 entries", n, left)
	}
}
