package peers_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svctoken/svctoken/internal/peers"
	"github.com/svctoken/svctoken/tokencache"
)

// BenchmarkMemory asks what a token takes in a cache of a million.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		for _, f := range peers.Memory(1e6) {
			b.Logf("%-30s %.0f bytes a token", f.Name, f.PerToken)
		}
	}
}

// BenchmarkMiss asks what an uncontended miss costs above its source's own time,
// which is next to nothing here. Two tokens of one account take turns in a cache
// for one, so that each call loads, stores, and displaces.
func BenchmarkMiss(b *testing.B) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	defer g.Close()
	if _, err := tokencache.New(g, "miss", present{}, tokencache.Config{MaxEntries: 1}); err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	var headers [2]string
	for i := range headers {
		headers[i] = "Bearer " + token(i).RevealBearer()
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := g.Authenticate(ctx, headers[i%2]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCrowd has 10 000 callers ask for one token that is not cached, and
// measures how long after the source's answer the last of them has its own. floor is
// as many goroutines that wait for a channel to be closed.
func BenchmarkCrowd(b *testing.B) {
	const callers = 10_000
	b.Run("floor", func(b *testing.B) {
		var spread time.Duration
		for b.Loop() {
			done := make(chan struct{})
			var waiting atomic.Int64
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() { waiting.Add(1); <-done })
			}
			for waiting.Load() < callers {
				runtime.Gosched()
			}
			answered := time.Now()
			close(done)
			wg.Wait()
			spread += time.Since(answered)
		}
		b.ReportMetric(float64(spread.Microseconds())/float64(b.N), "µs/last")
	})
	b.Run("svctoken", func(b *testing.B) {
		var spread time.Duration
		for b.Loop() {
			spread += crowd(b, callers)
		}
		b.ReportMetric(float64(spread.Microseconds())/float64(b.N), "µs/last")
	})
}

func crowd(b *testing.B, callers int) time.Duration {
	src := &gated{open: make(chan struct{})}
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	defer g.Close()
	c, err := tokencache.New(g, "crowd", src, tokencache.Config{})
	if err != nil {
		b.Fatal(err)
	}
	authorization := "Bearer " + token(1).RevealBearer()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			if _, err := g.Authenticate(context.Background(), authorization); err != nil {
				b.Error(err)
			}
		})
	}
	for c.Stats().Misses < uint64(callers) {
		runtime.Gosched()
	}
	answered := time.Now()
	close(src.open)
	wg.Wait()
	spread := time.Since(answered)
	if got := c.Stats().Loads; got != 1 {
		b.Fatalf("got %d source reads, want 1", got)
	}
	return spread
}

type gated struct {
	present
	open chan struct{}
}

func (g *gated) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[struct{}], error) {
	<-g.open
	return g.present.Lookup(ctx, id)
}
