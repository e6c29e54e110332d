package peers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers"
)

// TestRatios guards the figures of docs/performance.md against regressions: ratios
// of the best rounds, which hardly depend on how busy the machine is.
func TestRatios(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	limits := []struct {
		one, other string
		most       float64
	}{
		{"hit 10", "floor 10", 1.6},
		{"hit 22", "floor 22", 1.6},
		{"hit 32", "floor 32", 1.65},
		{"hit 64", "floor 64", 1.5},
		{"one hot token", "floor 22", 1.4},
		{"secrets of all lengths", "hit 22", 1.8},
		{"second of two caches", "hit 22", 1.3},
		{"wrong secret", "hit 22", 3.3},
		{"wrong secret, second of two caches", "hit 22", 3.6},
		{"hit 22", "kubernetes", 1 / 5.0},
	}
	within(t, func() (what string, met bool) {
		// Floors take more rounds: a machine that others use too is seldom quiet.
		few, many, met := peers.Hits(31), peers.Hits(151), true
		for _, limit := range limits {
			c := few
			if strings.HasPrefix(limit.other, "floor") {
				c = many
			}
			r := c.Ratio(limit.one, limit.other)
			what += fmt.Sprintf("\n%s / %s: %v, want at most %.2f", limit.one, limit.other, r, limit.most)
			met = met && r.Best <= limit.most
		}
		return what, met
	})
}

// TestHitDoesNotAllocate: in each of its forms.
func TestHitDoesNotAllocate(t *testing.T) {
	for _, o := range []peers.HostOptions{{}, {Caches: 2}, {Secrets: peers.SecretLengths}, {Secrets: []int{64}, Padded: true}} {
		h := peers.NewHost(o)
		defer h.Group.Close()
		i := 0
		if got := testing.AllocsPerRun(len(h.Headers), func() {
			h.Group.Authenticate(t.Context(), h.Headers[i%len(h.Headers)])
			i++
		}); got != 0 {
			t.Errorf("%+v: a hit allocates %v times", o, got)
		}
	}
}
