package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

const (
	sampleEvery = 2 * time.Second
	rateWindow  = 5 * time.Minute
	nowWindow   = 10 * time.Second // the time over which a present rate is taken

	mostSamples = int(rateWindow/sampleEvery) + 1
)

// rates remembers the counters of the last minutes.
type rates struct {
	mu      sync.Mutex // guards the field below
	samples []sample   // oldest first, one each sampleEvery
}

// A sample has the counters at a time.
type sample struct{ hits, misses, refused uint64 }

func (r *rates) add(s sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.samples = append(r.samples, s)
	if over := len(r.samples) - mostSamples; over > 0 {
		r.samples = slices.Delete(r.samples, 0, over)
	}
}

// watch takes samples until the context is done.
func (s *server) watch(ctx context.Context) {
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	for {
		s.rates.add(s.sample())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *server) sample() sample {
	taken := sample{refused: s.group.Stats().Refused}
	for _, stats := range []tokencache.Stats{s.fileCache.Stats(), s.indexCache.Stats()} {
		taken.hits += stats.Hits
		taken.misses += stats.Misses
	}
	return taken
}

// A chart is one counter's rate over the last minutes.
type chart struct {
	Label     string
	Class     string
	Now, Peak string // a second
	Points    string // of a line 300 wide and 40 high
}

// charts draws the rates.
func (r *rates) charts() []chart {
	r.mu.Lock()
	samples := slices.Clone(r.samples)
	r.mu.Unlock()
	return []chart{
		newChart("Hits", samples, func(s sample) uint64 { return s.hits }),
		newChart("Misses", samples, func(s sample) uint64 { return s.misses }),
		newChart("Refused", samples, func(s sample) uint64 { return s.refused }),
	}
}

func newChart(label string, samples []sample, counter func(sample) uint64) chart {
	var perSecond []float64
	for i := 1; i < len(samples); i++ {
		perSecond = append(perSecond, float64(counter(samples[i])-counter(samples[i-1]))/sampleEvery.Seconds())
	}
	peak := 0.0
	for _, rate := range perSecond {
		peak = max(peak, rate)
	}
	recent := perSecond[max(0, len(perSecond)-int(nowWindow/sampleEvery)):]
	return chart{label, strings.ToLower(label), perSecondText(mean(recent)), perSecondText(peak), points(perSecond, peak)}
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(max(1, len(values)))
}

// points returns the points of a line whose last value is at the right edge.
func points(values []float64, peak float64) string {
	const width, height, margin = 300.0, 40.0, 1.5
	if peak == 0 {
		peak = 1
	}
	step := width / float64(mostSamples-2)
	var out []string
	for i, v := range values {
		x := width - step*float64(len(values)-1-i)
		y := height - margin - v/peak*(height-2*margin)
		out = append(out, fmt.Sprintf("%.1f,%.1f", x, y))
	}
	return strings.Join(out, " ")
}

func perSecondText(rate float64) string {
	if rate >= 10 || rate == 0 {
		return fmt.Sprintf("%.0f", rate)
	}
	return fmt.Sprintf("%.1f", rate)
}
