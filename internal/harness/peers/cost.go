package peers

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svctoken/svctoken/internal/harness/peers/turns"
	"github.com/svctoken/svctoken/tokencache"
)

// MissAllocations returns how often an uncontended miss allocates.
func MissAllocations() float64 {
	miss := misser()
	return testing.AllocsPerRun(1000, func() { miss(1) })
}

// Misses returns the processor time of an uncontended miss, in all goroutines together.
// Its source's own time is next to nothing.
func Misses(rounds int) turns.Times {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	return turns.Compare(turns.Process, rounds, turns.Contestant{Name: "miss", Do: misser()})[0]
}

// misser returns a function that misses n times: two tokens of one account take turns in
// a cache for one, so that each call loads, stores, and displaces.
func misser() func(n int) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	must(tokencache.New(g, "miss", present{}, tokencache.Config{MaxEntries: 1}))
	headers := [2]string{Header(0, 22, false), Header(1, 22, false)}
	i := 0
	return func(n int) {
		for range n {
			must(g.Authenticate(context.Background(), headers[i%2]))
			i++
		}
	}
}

// Crowd compares the time of one core to serve 10 000 callers of one token, from the
// source's answer until the last caller has its own, with the time to wake as many
// goroutines that wait for a channel to be closed. These have the stacks of 2 kB that
// they begin with, or stacks that have grown to 4 kB, as in callers that decode and hash.
// Such stacks are a page apart, and so share fewer lines of the processor's caches.
func Crowd(rounds int) Comparison {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const callers = 10_000
	var wg sync.WaitGroup
	var open func()
	serve := func(int) { open(); wg.Wait() }
	bare := func(name string, before func()) turns.Contestant {
		return turns.Contestant{Name: name, N: 1, Do: serve, Prepare: func(int) {
			gate := make(chan struct{})
			var waiting atomic.Int64
			for range callers {
				wg.Go(func() { before(); waiting.Add(1); <-gate })
			}
			yieldUntil(func() bool { return waiting.Load() == callers })
			open = func() { close(gate) }
		}}
	}
	return compare(turns.Process, rounds,
		bare("bare channel", func() {}),
		bare("bare channel, grown stacks", func() { useStack(2) }),
		turns.Contestant{Name: "svctoken", N: 1, Do: serve, Prepare: func(int) {
			gate := make(chan struct{})
			g := tokencache.NewGroup(tokencache.GroupConfig{})
			c := must(tokencache.New(g, "crowd", svctokenSource{func(context.Context, string) (Version, error) { <-gate; return 1, nil }}, tokencache.Config{}))
			header := Header(1, 22, false)
			for range callers {
				wg.Go(func() { must(g.Authenticate(context.Background(), header)) })
			}
			yieldUntil(func() bool { return c.Stats().Misses == callers })
			open = func() {
				close(gate)
				wg.Wait()
				if c.Stats().Loads != 1 {
					panic("more than one load")
				}
				g.Close()
			}
		}},
	)
}

// useStack needs n kB of stack.
//
//go:noinline
func useStack(n int) byte {
	var frame [1024]byte
	if n > 1 {
		frame[n] = useStack(n - 1)
	}
	return frame[n]
}

// yieldUntil lets other goroutines run until done, and then until they wait.
func yieldUntil(done func() bool) {
	for !done() {
		runtime.Gosched()
	}
	for range 10 {
		runtime.Gosched()
	}
}

// Evictions compares evictions of an account with ten tokens, by wildcard, from two
// caches with different numbers of other tokens.
func Evictions(rounds int, others ...int) Comparison {
	ctx := context.Background()
	account := tokencache.Account{Namespace: "elastic", Service: "ten"}
	sel := must(account.SelectAll())
	var ten []tokencache.Token
	for i := range 10 {
		ten = append(ten, must(tokencache.NewToken(account.TokenID(tokenName(i)), tokencache.NewSecret(secretOf(i, 22)))))
	}
	var contestants []turns.Contestant
	for _, n := range others {
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		defer g.Close()
		var caches []*tokencache.Cache[struct{}]
		for _, name := range []string{"first", "second"} {
			c := must(tokencache.New(g, name, present{}, tokencache.Config{MaxEntries: n + 1000}))
			for i := range n {
				must(c.AuthenticateToken(ctx, TokenOf(tokenName(i))))
			}
			caches = append(caches, c)
		}
		contestants = append(contestants, turns.Contestant{
			Name: fmt.Sprint(n, " others"), N: 1,
			Prepare: func(int) {
				for _, c := range caches {
					for _, t := range ten {
						must(c.AuthenticateToken(ctx, t))
					}
				}
			},
			Do: func(int) { g.Evict(ctx, sel) },
		})
	}
	return compare(turns.Thread, rounds, contestants...)
}

// A Hold says how long others waited for an eviction.
type Hold struct {
	Name string
	Took time.Duration // the eviction itself

	// The times of a miss and an eviction meanwhile, elsewhere in the group.
	P99, Longest time.Duration
}

// A Full has the costs of a full cache of many tokens.
type Full struct {
	Cycle, EmptyCycle float64 // nanoseconds of the processor for a cycle of Go's collector, full and empty
	Holds             []Hold
}

// FullCache fills a cache with n tokens. It measures the collector's cycles, and how
// long another core waits with a miss and an eviction, elsewhere in the group, while
// all tokens are evicted by a wildcard, and while their cache is cleared: with the
// collector on, and without it.
func FullCache(n int) Full {
	cycle := func() float64 {
		return turns.Compare(turns.Process, 5, turns.Contestant{N: 1, Do: func(int) { runtime.GC() }})[0].Best()
	}
	full := Full{EmptyCycle: cycle()}
	g, fill := filled(n)
	defer g.Close()
	full.Cycle = cycle()
	all := must(Account.SelectAll())
	for _, collector := range []bool{true, false} {
		for _, e := range []struct {
			name  string
			evict func()
		}{
			{"an account's wildcard", func() { g.Evict(context.Background(), all) }},
			{"Clear", func() { g.Clear(context.Background()) }},
		} {
			fill()
			if !collector {
				e.name += ", collector off"
			}
			full.Holds = append(full.Holds, hold(e.name, g, collector, e.evict))
		}
	}
	return full
}

func hold(name string, g *tokencache.Group, collector bool, evict func()) Hold {
	ctx := context.Background()
	other := must(tokencache.New(g, "other, for "+name, present{}, tokencache.Config{}))
	defer other.Close()
	busy := must(tokencache.NewToken(tokencache.Account{Namespace: "elastic", Service: "other"}.TokenID("busy"), tokencache.NewSecret(secretOf(0, 22))))
	sel := must(busy.ID().Select())
	runtime.GC()
	if !collector {
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
	}
	var stop atomic.Bool
	running := make(chan bool)
	var waits []time.Duration
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; !stop.Load() || i <= 100; i++ {
			began := time.Now()
			must(other.AuthenticateToken(ctx, busy))
			g.Evict(ctx, sel)
			waits = append(waits, time.Since(began))
			if i == 100 {
				waits = waits[:0]
				close(running)
			}
		}
	})
	<-running
	began := time.Now()
	evict()
	took := time.Since(began)
	stop.Store(true)
	wg.Wait()
	slices.Sort(waits)
	return Hold{name, took, waits[len(waits)*99/100], waits[len(waits)-1]}
}
