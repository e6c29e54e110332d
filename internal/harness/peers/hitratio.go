package peers

import (
	"container/list"
	"context"
	"math"
	"math/rand/v2"

	"github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"

	"github.com/svctoken/svctoken/tokencache"
)

// A Ratio is how many of a trace's requests a cache answered, from 0 to 1.
type Ratio struct {
	Trace    string
	Capacity float64 // as a part of the keys

	Svctoken, LRU, Marked, TwoQueue, Otter float64
}

const (
	traceKeys     = 10_000
	traceRequests = 200_000
)

// traces are request distributions as papers on caches use them. Each is a slice
// of key numbers, the same at each call.
func traces() []struct {
	name     string
	requests []int
} {
	type trace = struct {
		name     string
		requests []int
	}
	scan := zipf(1.0)
	for i := 0; i < len(scan); i += 20_000 { // a scan over all keys, every 20 000 requests
		for j := range min(traceKeys/2, len(scan)-i) {
			scan[i+j] = j
		}
	}
	shifting := ranks(1.0) // after 1 000 requests each rank goes to a key 25 further
	for i := range shifting {
		shifting[i] = (shifting[i] + i/1000*25) % traceKeys
	}
	loop := make([]int, traceRequests)
	for i := range loop {
		loop[i] = i % (traceKeys * 6 / 10)
	}
	return []trace{
		{"Zipf 0.8", zipf(0.8)}, {"Zipf 1.0", zipf(1.0)}, {"Zipf 1.2", zipf(1.2)},
		{"Zipf 1.0, shifting", shifting},
		{"Zipf 1.0 with scans", scan}, {"loop over 60 % of the keys", loop},
	}
}

// zipf draws keys with a probability that falls with the power s of their rank.
func zipf(s float64) []int {
	names := rand.New(rand.NewPCG(2, uint64(s*10))).Perm(traceKeys)
	requests := ranks(s)
	for i, rank := range requests {
		requests[i] = names[rank]
	}
	return requests
}

// ranks draws the ranks of keys. The standard library's Zipf needs s above 1.
func ranks(s float64) []int {
	rng := rand.New(rand.NewPCG(1, uint64(s*10)))
	sums := make([]float64, traceKeys)
	total := 0.0
	for i := range sums {
		total += math.Pow(float64(i+1), -s)
		sums[i] = total
	}
	requests := make([]int, traceRequests)
	for i := range requests {
		x := rng.Float64() * total
		lo, hi := 0, traceKeys-1
		for lo < hi {
			if mid := (lo + hi) / 2; sums[mid] < x {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		requests[i] = lo
	}
	return requests
}

// HitRatios replays each trace at 1 %, 10 % and 50 % capacity against svctoken,
// golang-lru's exact LRU, its 2Q, otter, and an LRU whose recency is a mark that a hit
// leaves: the simplest cache whose hits write nothing else.
func HitRatios() []Ratio {
	var ratios []Ratio
	for _, trace := range traces() {
		for _, capacity := range []float64{0.01, 0.1, 0.5} {
			n := int(capacity * traceKeys)
			exact := must(lru.New[int, struct{}](n))
			twoQueue := must(lru.New2Q[int, struct{}](n))
			window := must(otter.New(&otter.Options[int, struct{}]{MaximumSize: n, Executor: func(f func()) { f() }}))
			marks := newMarked(n)
			ratios = append(ratios, Ratio{
				Trace: trace.name, Capacity: capacity,
				Svctoken: svctokenRatio(trace.requests, n),
				LRU:      ratio(trace.requests, exact.Get, func(k int) { exact.Add(k, struct{}{}) }),
				Marked:   ratio(trace.requests, marks.get, marks.add),
				TwoQueue: ratio(trace.requests, twoQueue.Get, func(k int) { twoQueue.Add(k, struct{}{}) }),
				Otter:    ratio(trace.requests, window.GetIfPresent, func(k int) { window.Set(k, struct{}{}) }),
			})
			window.StopAllGoroutines()
		}
	}
	return ratios
}

func ratio(requests []int, get func(int) (struct{}, bool), add func(int)) float64 {
	hits := 0
	for _, k := range requests {
		if _, ok := get(k); ok {
			hits++
		} else {
			add(k)
		}
	}
	return float64(hits) / float64(len(requests))
}

// A marked is an LRU that looks at the marks when it needs room: a marked key
// loses its mark instead, and is the youngest again.
type marked struct {
	capacity int
	byAge    *list.List // of *markedKey; the oldest at the back
	elements map[int]*list.Element
}

type markedKey struct {
	key  int
	mark bool
}

func newMarked(n int) *marked {
	return &marked{capacity: n, byAge: list.New(), elements: make(map[int]*list.Element)}
}

func (m *marked) get(key int) (struct{}, bool) {
	e, ok := m.elements[key]
	if ok {
		e.Value.(*markedKey).mark = true
	}
	return struct{}{}, ok
}

func (m *marked) add(key int) {
	for len(m.elements) >= m.capacity {
		oldest := m.byAge.Back()
		if k := oldest.Value.(*markedKey); k.mark {
			k.mark = false
			m.byAge.MoveToFront(oldest)
		} else {
			m.byAge.Remove(oldest)
			delete(m.elements, k.key)
		}
	}
	m.elements[key] = m.byAge.PushFront(&markedKey{key: key})
}

func svctokenRatio(requests []int, n int) float64 {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	defer g.Close()
	c := must(tokencache.New(g, "ratio", svctokenSource{func(context.Context, string) (Version, error) { return 1, nil }}, tokencache.Config{MaxEntries: n}))
	tokens := make([]tokencache.Token, traceKeys)
	for i := range tokens {
		tokens[i] = TokenOf(tokenName(i))
	}
	for _, k := range requests {
		must(c.AuthenticateToken(context.Background(), tokens[k]))
	}
	return float64(c.Stats().Hits) / float64(len(requests))
}
