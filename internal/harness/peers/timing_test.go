package peers_test

import (
	"flag"
	"fmt"
	"math"
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers"
)

var pairs = flag.Int("pairs", 0, "how many `pairs` TestNameTimes compares for each line of its table; about 3 minutes for 100 000")

// Rounds of PBKDF2: a hash of 20 us, and Elasticsearch's.
const cheap, usual = 40, 10_000

// TestNameTimes: the time of a refusal tells at once which names exist, unless they are
// to be hidden. Then the difference is small, even if there is no hash. With -pairs
// 100000 it prints the table of SECURITY.md instead.
func TestNameTimes(t *testing.T) {
	if *pairs > 0 {
		printNameTimes(t)
		return
	}
	within(t, func() (what string, met bool) {
		open := peers.NameTimes(peers.NotCached, false, 5, cheap, 500)
		what, met = fmt.Sprintf("\nwithout HideNames: %+v", open), math.Abs(open.Processor.T) > 50
		for _, names := range []string{peers.NotCached, peers.Cached} {
			hidden := peers.NameTimes(names, true, 5, 0, 2000)
			what += fmt.Sprintf("\nwith it: %+v, want a difference of at most a tenth of the mean", hidden)
			met = met && hidden.Processor.Less.Abs() <= hidden.Processor.Mean/10
		}
		return what, met
	})
}

func printNameTimes(t *testing.T) {
	t.Log("| hash | HideNames | unknown names against | pairs | mean, µs | difference, µs | t | t by the wall's clock |")
	for _, rounds := range []int{cheap, usual} {
		for _, hide := range []bool{false, true} {
			for _, names := range []string{peers.Control, peers.NotCached, peers.Cached} {
				n := *pairs
				if rounds == usual {
					n /= 50
				}
				if !hide {
					n /= 10
				}
				m := peers.NameTimes(names, hide, 100, rounds, n)
				t.Logf("| %d rounds | %t | %s | %d | %.1f | %.3f | %.1f | %.1f |", rounds, hide, names, n,
					m.Processor.Mean.Seconds()*1e6, m.Processor.Less.Seconds()*1e6, m.Processor.T, m.Wall.T)
			}
		}
	}
}

// TestWelch: two samples with a known statistic, and outliers that do not count.
func TestWelch(t *testing.T) {
	var samples [2][]float64
	for i := range 100 {
		samples[0] = append(samples[0], float64(100+i%2))
		samples[1] = append(samples[1], float64(90+i%2))
	}
	for range 11 {
		samples[1] = append(samples[1], 1e6)
	}
	got := peers.WelchOf(samples)
	// Variances of 0.2525, of 100 values each: 10 / sqrt(2 * 0.002525).
	if math.Abs(got.T-140.7) > 0.1 || got.Less != 10 || got.Mean != 100 {
		t.Errorf("got %+v", got)
	}
}
