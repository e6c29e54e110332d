package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// A result says how the good callers fared during one attack.
type result struct {
	attack     attack
	rate       float64 // requests of the attackers, a second
	cached     []time.Duration
	first      []time.Duration
	waited     []int // of first uses: see turns.waited
	failed     int   // good tokens without an answer
	wrong      int64
	megabytes  uint64
	goroutines int
	left       int // loads that were left a second after the attack and the hashes that it had begun
}

const header = "| attack | sent/s | cached tokens: p50, p99, p99.9 | first uses: p50, p99, p99.9 | hashes of one account before it: p99, most | failed | wrong | MB | goroutines | left 1 s after |\n" +
	"| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"

func (r result) String() string {
	waited := "-"
	if len(r.waited) > 0 {
		waited = fmt.Sprintf("%d, %d", quantile(r.waited, 0.99), quantile(r.waited, 1))
	}
	return fmt.Sprintf("| %s | %.0f | %s | %s | %s | %d of %d | %d | %d | %d | %d |", r.attack.name, r.rate, quantiles(r.cached), quantiles(r.first),
		waited, r.failed, r.failed+len(r.first), r.wrong, r.megabytes, r.goroutines, r.left)
}

// ok reports whether the promises were kept: no wrong verdict, an answer for every good
// token unless its source is down, at most one hash of each attacked account before its
// own, and nothing left. In an attack with hashes of all prices, more cheap ones may come
// first: they run beside the expensive ones, and nobody waits for them.
func (r result) ok() bool {
	mayFail := r.attack.outage || r.attack.flapping
	turns := len(r.waited) == 0 || r.attack.everything || quantile(r.waited, 1) <= 1
	return r.wrong == 0 && (r.failed == 0 || mayFail) && turns && r.left == 0
}

func quantiles(d []time.Duration) string {
	if len(d) == 0 {
		return "-"
	}
	at := func(q float64) time.Duration { return quantile(d, q).Round(time.Microsecond) }
	return fmt.Sprintf("%v, %v, %v", at(0.5), at(0.99), at(0.999))
}

func quantile[T int | time.Duration](values []T, q float64) T {
	slices.Sort(values)
	return values[int(q*float64(len(values)-1))]
}

// endure runs the attackers and the good callers for a while.
func (w *world) endure(ctx context.Context, a attack, d time.Duration, attackers int) result {
	if a.prepare != nil {
		if err := a.prepare(ctx, w); err != nil {
			panic(err) // nothing is attacked yet, and no source is down
		}
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if a.hang {
		w.index.hangUp()
	}
	w.index.fail.Store(a.outage)
	r := result{attack: a}
	wrong := w.tally.wrong.Load()
	var sent atomic.Int64
	var wg sync.WaitGroup
	if a.send != nil {
		for range attackers {
			// With a pause: attackers sit behind a network. Without one, they would take
			// turns of 10 ms on the processors, and Go's scheduler would be measured.
			wg.Go(func() {
				each(ctx, time.Millisecond, func(int) { a.send(ctx, w, int(sent.Add(1))) })
			})
		}
	}
	if a.flapping {
		wg.Go(func() { each(ctx, 100*time.Millisecond, func(i int) { w.index.fail.Store(i%2 == 1) }) })
	}
	wg.Go(func() { w.useCached(ctx, &r) })
	for _, rot := range w.rotations {
		wg.Go(func() { rot.rotate(ctx) })
		wg.Go(func() { rot.use(ctx, w) })
		wg.Go(func() { rot.use(ctx, w) })
	}
	if a.clears {
		w.useCleared(ctx, &r)
	} else {
		w.useFresh(ctx, &r)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.megabytes, r.goroutines = m.HeapInuse>>20, runtime.NumGoroutine()
	w.index.fail.Store(false)
	w.index.letGo()
	wg.Wait()
	r.left = w.drain()
	r.wrong = w.tally.wrong.Load() - wrong
	r.rate = float64(sent.Load()) / d.Seconds()
	return r
}

// useCached sends cached tokens, one each millisecond. No source needs to answer, so
// no answer is wrong here.
func (w *world) useCached(ctx context.Context, r *result) {
	each(ctx, time.Millisecond, func(i int) {
		id := goodAccount(i % cachedTokens).TokenID(fmt.Sprintf("cached-%d", i%cachedTokens))
		began := time.Now()
		err := w.authenticate(ctx, id, w.secret, good)
		r.cached = append(r.cached, time.Since(began))
		if err != nil && !errors.Is(err, tokencache.ErrRefused) {
			w.tally.wrong.Add(1)
		}
	})
}

// useFresh sends good tokens for the first time, ten a second. While the index is down,
// they must get an error.
func (w *world) useFresh(ctx context.Context, r *result) {
	each(ctx, 100*time.Millisecond, func(int) {
		i := int(w.fresh.Add(1))
		id := goodAccount(i).TokenID(fmt.Sprintf("fresh-%d", i))
		if w.index.Put(ctx, document(id, w.hash)) == nil {
			w.measure(ctx, r, id)
		}
		w.index.Delete(ctx, id)
		w.waited.Delete(id)
	})
}

// useCleared clears the cache of the index, and then sends tokens that were good
// before.
func (w *world) useCleared(ctx context.Context, r *result) {
	each(ctx, 200*time.Millisecond, func(int) {
		w.indexCache.Clear(ctx, tokencache.CauseAsked)
		for i := range regulars {
			w.measure(ctx, r, regular.TokenID(fmt.Sprintf("r-%d", i)))
		}
	})
}

// measure sends a good token that is not cached.
func (w *world) measure(ctx context.Context, r *result, id tokencache.TokenID) {
	w.waited.Delete(id)
	began := time.Now()
	err := w.authenticate(context.WithoutCancel(ctx), id, w.secret, good)
	took := time.Since(began)
	switch {
	case err != nil:
		r.failed++
	case r.attack.outage:
		w.tally.wrong.Add(1) // no source could answer, so any verdict is wrong
	default:
		r.first = append(r.first, took)
		if waited, ok := w.waited.Load(id); ok {
			r.waited = append(r.waited, waited.(int))
		}
	}
}

// each calls f at this pace until the context is done.
func each(ctx context.Context, pace time.Duration, f func(i int)) {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		f(i)
	}
}
