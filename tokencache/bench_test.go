package tokencache_test

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// BenchmarkHit asks what a hit costs, from the Authorization header's value to
// the verdict, with 1 000 live tokens. floor is what no cache that stores no
// plaintext can go below: one SHA-256 and one comparison.
func BenchmarkHit(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		var buf [16 + 22]byte
		var want [sha256.Size]byte
		b.ReportAllocs()
		for b.Loop() {
			sum := sha256.Sum256(buf[:])
			subtle.ConstantTimeCompare(sum[:], want[:])
		}
	})
	// A secret which is not as long as a generated one takes the long way.
	b.Run("secret=32", func(b *testing.B) {
		token := mustToken(b, "elastic/fleet-server/token-00000001", "0123456789abcdef0123456789abcdef")
		g := remembering(b, []tokencache.Token{token})
		ctx, authorization := b.Context(), header(token)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := g.Authenticate(ctx, authorization); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, live := range []int{1, 1000} {
		src := newTestSource()
		headers := make([]string, live)
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		newCache(b, g, "test", src, tokencache.Config{})
		for i := range headers {
			id := fleet.TokenID(fmt.Sprintf("token-%08d", i))
			token, _ := tokencache.NewToken(id, tokencache.GenerateSecret())
			src.set(token)
			headers[i] = header(token)
			if _, err := g.Authenticate(b.Context(), headers[i]); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("live=%d", live), func(b *testing.B) {
			ctx := b.Context()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := g.Authenticate(ctx, headers[i%live]); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("parallel/live=%d", live), func(b *testing.B) {
			b.ReportAllocs()
			ctx := b.Context()
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					if _, err := g.Authenticate(ctx, headers[i%live]); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkClock asks what a reading of the system's clock costs.
func BenchmarkClock(b *testing.B) {
	start := time.Now()
	for b.Loop() {
		time.Since(start)
	}
}

// BenchmarkEvict asks what it costs to evict an account of ten tokens by wildcard,
// from two caches that hold this many others. The metric is the median eviction; the
// time for one operation includes loading the ten again. The collector is off
// meanwhile: it would mark a million entries for the garbage of those loads.
func BenchmarkEvict(b *testing.B) {
	for _, others := range []int{1e3, 1e4, 1e5, 1e6} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			g := tokencache.NewGroup(tokencache.GroupConfig{})
			defer g.Close()
			caches := make([]*tokencache.Cache[struct{}], 2)
			for i := range caches {
				c, err := tokencache.New(g, fmt.Sprint(i), open{}, tokencache.Config{MaxEntries: others + 10})
				if err != nil {
					b.Fatal(err)
				}
				caches[i] = c
			}
			load := func(id tokencache.TokenID) {
				token, err := tokencache.NewToken(id, openSecret)
				if err != nil {
					b.Fatal(err)
				}
				for _, c := range caches {
					if _, err := c.AuthenticateToken(b.Context(), token); err != nil {
						b.Fatal(err)
					}
				}
			}
			for i := range others {
				load(tokencache.Account{Namespace: "elastic", Service: fmt.Sprintf("service-%d", i%1000)}.TokenID(fmt.Sprintf("token-%08d", i)))
			}
			sel := all(b, fleet)
			var took []time.Duration
			defer debug.SetGCPercent(debug.SetGCPercent(-1))
			for b.Loop() {
				for i := range 10 {
					load(fleet.TokenID(fmt.Sprintf("token-%08d", i)))
				}
				start := time.Now()
				evicted := g.Evict(context.Background(), sel)
				took = append(took, time.Since(start))
				if evicted["0"] != 10 || evicted["1"] != 10 {
					b.Fatal(evicted)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "ns/evict")
		})
	}
}

// open is a source that confirms every token at once.
type open struct{}

var openSecret = tokencache.NewSecret("0123456789abcdefghijkl")

func (open) Lookup(context.Context, tokencache.TokenID) (tokencache.Answer[struct{}], error) {
	return tokencache.Answer[struct{}]{Held: true, Verify: func(tokencache.Secret) bool { return true }}, nil
}

func (open) Subscribe(tokencache.Invalidator) (cancel func()) { return func() {} }

// BenchmarkHeld asks how long an eviction of a million entries holds the group's mutex
// at a time, which is how long a miss or another eviction may wait for it: by an
// account's wildcard, and by clearing the cache. Each once by the wall clock, which
// counts the turns of other threads and programs, and once by what it takes of the
// processor.
func BenchmarkHeld(b *testing.B) {
	const entries = 1_000_000
	src := newTestSource()
	tokens := make([]tokencache.Token, entries)
	for i := range tokens {
		tokens[i], _ = tokencache.NewToken(fleet.TokenID(fmt.Sprintf("token-%08d", i)), tokencache.NewSecret("supersecret"))
		src.set(tokens[i])
	}
	all, _ := fleet.SelectAll()
	start := time.Now()
	for clock, now := range map[string]func() time.Duration{
		"wall":      func() time.Duration { return time.Since(start) },
		"processor": threadTime,
	} {
		if now == nil {
			continue // this system does not tell
		}
		for name, evict := range map[string]func(*tokencache.Group) []time.Duration{
			"wildcard": func(g *tokencache.Group) []time.Duration { return tokencache.HeldByEvict(g, all, now) },
			"clear":    func(g *tokencache.Group) []time.Duration { return tokencache.HeldByClear(g, now) },
		} {
			b.Run(name+"/"+clock, func(b *testing.B) {
				var mark time.Duration
				var steps []time.Duration
				for b.Loop() {
					b.StopTimer()
					g := tokencache.NewGroup(tokencache.GroupConfig{})
					c := newCache(b, g, "test", src, tokencache.Config{MaxEntries: entries})
					for _, token := range tokens {
						if _, err := c.AuthenticateToken(b.Context(), token); err != nil {
							b.Fatal(err)
						}
					}
					runtime.GC()
					b.StartTimer()
					runtime.LockOSThread() // whose time it is
					held := evict(g)
					runtime.UnlockOSThread()
					mark = max(mark, held[0])
					steps = append(steps, held[1:]...)
					b.StopTimer()
					g.Close()
					b.StartTimer()
				}
				slices.Sort(steps)
				b.ReportMetric(float64(mark)/1e3, "mark-µs")
				b.ReportMetric(float64(steps[len(steps)*999/1000])/1e3, "p99.9-step-µs")
				b.ReportMetric(float64(steps[len(steps)-1])/1e3, "longest-step-µs")
			})
		}
	}
}

// BenchmarkBesideClear asks how long an eviction and the miss that follows it take while a
// million entries are cleared: what the unlinking, in steps under the mutex, costs others.
func BenchmarkBesideClear(b *testing.B) {
	const entries = 1_000_000
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c, err := tokencache.New(g, "test", open{}, tokencache.Config{MaxEntries: entries})
		if err != nil {
			b.Fatal(err)
		}
		for i := range entries {
			if _, err := c.AuthenticateToken(b.Context(), mustToken(b, fmt.Sprintf("elastic/fleet-server/token-%08d", i), openSecret.Reveal())); err != nil {
				b.Fatal(err)
			}
		}
		other := mustToken(b, "elastic/kibana/token1", openSecret.Reveal())
		sel, _ := other.ID().Select()
		runtime.GC()
		cleared := make(chan struct{})
		b.StartTimer()
		go func() {
			defer close(cleared)
			g.Clear(b.Context())
		}()
		for done := false; !done; {
			start := time.Now()
			g.Evict(b.Context(), sel)
			c.AuthenticateToken(b.Context(), other)
			took = append(took, time.Since(start))
			select {
			case <-cleared:
				done = true
			default:
			}
		}
		b.StopTimer()
		g.Close()
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2])/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100])/1e3, "p99-µs")
	b.ReportMetric(float64(took[len(took)-1])/1e3, "longest-µs")
}

// BenchmarkTurnedAway asks what it costs to turn a caller away when the queue is full
// of loads of as many accounts: a flood makes the group do that, under the mutex that
// misses and evictions need. It must not depend on how many wait.
func BenchmarkTurnedAway(b *testing.B) {
	for _, places := range []int{1 << 6, 1 << 14} {
		b.Run(fmt.Sprintf("waiting=%d", places), func(b *testing.B) {
			g := tokencache.NewGroup(tokencache.GroupConfig{MaxQueue: places, MaxWait: time.Hour})
			defer g.Close()
			c, err := tokencache.New(g, "hangs", hangs{}, tokencache.Config{MaxLoads: 1, LoadTimeout: time.Hour})
			if err != nil {
				b.Fatal(err)
			}
			token := func(i int) tokencache.Token {
				return mustToken(b, fmt.Sprintf("elastic/service-%d/token1", i), "0123456789abcdefghijkl")
			}
			for i := range places + 1 {
				token := token(i)
				go c.AuthenticateToken(b.Context(), token)
			}
			for st := c.Stats(); st.Loading+st.Waiting <= places; st = c.Stats() {
				runtime.Gosched()
			}
			newcomer := token(places + 1)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.AuthenticateToken(b.Context(), newcomer); !errors.Is(err, tokencache.ErrOverloaded) {
					b.Fatal(err)
				}
			}
		})
	}
}

// hangs is a source that answers when its context ends.
type hangs struct{ open }

func (hangs) Lookup(ctx context.Context, _ tokencache.TokenID) (tokencache.Answer[struct{}], error) {
	<-ctx.Done()
	return tokencache.Answer[struct{}]{}, ctx.Err()
}
