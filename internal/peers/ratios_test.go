package peers_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/svctoken/svctoken/internal/peers"
	"github.com/svctoken/svctoken/tokencache"
)

// TestRatios guards the figures of docs/performance.md against regressions: ratios
// within one run, at one and a half times their targets, and allocations exactly.
// The best of three measurements counts, as the machine may be busy with others.
func TestRatios(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	floor := best(floor)
	hit := best(func(b *testing.B) { newHost(b, 1, liveTokens).bench(b) })
	second := best(func(b *testing.B) { newHost(b, 2, liveTokens).bench(b) })
	kubernetes := best(kubernetes)
	for _, test := range []struct {
		name     string
		got, max float64
	}{
		{"a hit against the floor", hit / floor, 1.5 * 1.6},
		{"a hit against Kubernetes' token cache", hit / kubernetes, 1.5 / 4.5},
		{"a token in the second of two caches against a direct hit", second / hit, 1.5 * 1.25},
	} {
		t.Logf("%s: %.2f, at most %.2f", test.name, test.got, test.max)
		if test.got > test.max {
			t.Errorf("%s: got %.2f, want at most %.2f", test.name, test.got, test.max)
		}
	}
	h := newHost(t, 2, liveTokens)
	i := 0
	if got := testing.AllocsPerRun(liveTokens, func() {
		h.group.Authenticate(t.Context(), h.headers[i%liveTokens])
		i++
	}); got != 0 {
		t.Errorf("a hit allocates %v times", got)
	}
}

// TestCosts guards what does not depend on how busy the machine is, or hardly: what a
// miss allocates, what a token takes, and that an eviction costs the same in a cache
// a hundred times as large.
func TestCosts(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	defer g.Close()
	if _, err := tokencache.New(g, "miss", present{}, tokencache.Config{MaxEntries: 1}); err != nil {
		t.Fatal(err)
	}
	headers := []string{"Bearer " + token(0).RevealBearer(), "Bearer " + token(1).RevealBearer()}
	i := 0
	if got := testing.AllocsPerRun(1000, func() {
		g.Authenticate(t.Context(), headers[i%2])
		i++
	}); got != 9 {
		t.Errorf("a miss allocates %v times, and it was 9", got)
	}

	if got := peers.SvctokenMemory(1e6).PerToken; got > 260 {
		t.Errorf("a token takes %.0f bytes, want at most 260", got)
	}

	small, large := evictionTime(t, 1e3), evictionTime(t, 1e5)
	t.Logf("an eviction takes %v among 10^3, %v among 10^5", small, large)
	if large > small*225/100 {
		t.Errorf("an eviction takes %v among 10^3 tokens, %v among 10^5", small, large)
	}
}

// evictionTime returns the median time in which ten tokens are evicted by wildcard
// from a cache that has this many others.
func evictionTime(t *testing.T, others int) time.Duration {
	t.Helper()
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	defer g.Close()
	if _, err := tokencache.New(g, "evict", present{}, tokencache.Config{MaxEntries: others + 10}); err != nil {
		t.Fatal(err)
	}
	load := func(service string, i int) {
		id := tokencache.Account{Namespace: "elastic", Service: service}.TokenID(fmt.Sprint("token-", i))
		tok, err := tokencache.NewToken(id, tokencache.NewSecret("0123456789abcdefghijkl"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.AuthenticateToken(context.Background(), tok); err != nil {
			t.Fatal(err)
		}
	}
	for i := range others {
		load(fmt.Sprint("service-", i%100), i)
	}
	sel, err := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.SelectAll()
	if err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for range 1000 {
		for i := range 10 {
			load("fleet-server", i)
		}
		began := time.Now()
		g.Evict(context.Background(), tokencache.CauseAsked, sel)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// best returns the nanoseconds of the best of three measurements.
func best(bench func(*testing.B)) float64 {
	least := 0.0
	for range 3 {
		r := testing.Benchmark(bench)
		if ns := float64(r.T.Nanoseconds()) / float64(r.N); least == 0 || ns < least {
			least = ns
		}
	}
	return least
}
