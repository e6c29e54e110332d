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

// A result is what the good callers met during one attack.
type result struct {
	name       string
	rate       float64 // requests of the attackers, a second
	cached     []time.Duration
	first      []time.Duration
	failed     int // good first uses without an answer
	wrong      int
	megabytes  uint64
	goroutines int
}

func (r result) String() string {
	return fmt.Sprintf("%-34s %8.0f  %-29s %-29s %7d %7d %7d %9d",
		r.name, r.rate, quantiles(r.cached), quantiles(r.first), r.failed, r.wrong, r.megabytes, r.goroutines)
}

func quantiles(d []time.Duration) string {
	if len(d) == 0 {
		return "-"
	}
	slices.Sort(d)
	at := func(q float64) time.Duration { return d[int(q*float64(len(d)-1))].Round(time.Microsecond) }
	return fmt.Sprintf("%v %v %v", at(0.5), at(0.99), at(0.999))
}

// endure has the attackers attack and the good callers call for a while.
func (w *world) endure(ctx context.Context, a attack, d time.Duration, callers int) result {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	w.index.hang.Store(a.hang)
	w.index.fail.Store(a.outage)
	r := result{name: a.name}
	var sent atomic.Int64
	var wg sync.WaitGroup
	if a.send != nil {
		for range callers {
			// With a pause: attackers sit behind a network. Without one, they would take
			// turns of 10 ms on the processors, and Go's scheduler would be measured.
			wg.Go(func() {
				each(ctx, time.Millisecond, func(int) { a.send(ctx, w, int(sent.Add(1))) })
			})
		}
	}
	var rotation result
	wg.Go(func() { w.useCached(ctx, &r) })
	wg.Go(func() { w.rotate(ctx, a, &rotation) })
	w.useFresh(ctx, a, &r)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.megabytes, r.goroutines = m.HeapInuse>>20, runtime.NumGoroutine()
	wg.Wait()
	r.rate = float64(sent.Load()) / d.Seconds()
	r.wrong += rotation.wrong
	return r
}

// useCached sends cached tokens, one each millisecond.
func (w *world) useCached(ctx context.Context, r *result) {
	each(ctx, time.Millisecond, func(i int) {
		id := goodAccount(i % cachedTokens).TokenID(fmt.Sprintf("cached-%d", i%cachedTokens))
		began := time.Now()
		if err := w.authenticate(ctx, id, w.secret); err != nil {
			r.wrong++ // it is in memory
		}
		r.cached = append(r.cached, time.Since(began))
	})
}

// useFresh sends good tokens for the first time, ten a second.
func (w *world) useFresh(ctx context.Context, a attack, r *result) {
	each(ctx, 100*time.Millisecond, func(int) {
		i := w.fresh
		w.fresh++
		began := time.Now()
		err := w.authenticate(context.WithoutCancel(ctx), goodAccount(i%freshTokens).TokenID(fmt.Sprintf("fresh-%d", i%freshTokens)), w.secret)
		switch {
		case errors.Is(err, tokencache.ErrRefused), err == nil && a.outage:
			r.wrong++
		case err != nil && !a.outage:
			r.failed++
		}
		r.first = append(r.first, time.Since(began))
	})
}

// rotate creates a token, uses it, and revokes it, again and again: it must be
// refused from then on.
func (w *world) rotate(ctx context.Context, a attack, r *result) {
	if a.outage {
		return
	}
	each(ctx, 50*time.Millisecond, func(i int) {
		id := rotated.TokenID(fmt.Sprintf("r-%d", i))
		if w.file.Put(w.document(id)) != nil {
			return
		}
		if errors.Is(w.authenticate(ctx, id, w.secret), tokencache.ErrRefused) {
			r.wrong++
		}
		w.file.Delete(id)
		if w.authenticate(ctx, id, w.secret) == nil {
			r.wrong++
		}
	})
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
