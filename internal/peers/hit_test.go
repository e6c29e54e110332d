package peers_test

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	k8s "k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/svctoken/svctoken/internal/peers"
	"github.com/svctoken/svctoken/tokencache"
)

const liveTokens = 1000

// A host is a group with one cache or two, all tokens remembered, and the headers
// that hit.
type host struct {
	group   *tokencache.Group
	headers []string
}

// newHost returns a host whose tokens live in the last of its caches; the sources
// before know that they do not hold them.
func newHost(tb testing.TB, caches, tokens int) *host {
	tb.Helper()
	h := &host{group: tokencache.NewGroup(tokencache.GroupConfig{})}
	for i := range caches {
		var err error
		if i < caches-1 {
			_, err = tokencache.New(h.group, fmt.Sprint(i), absent{}, tokencache.Config{})
		} else {
			_, err = tokencache.New(h.group, fmt.Sprint(i), present{}, tokencache.Config{MaxEntries: tokens + 1000})
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	tb.Cleanup(h.group.Close)
	for i := range tokens {
		header := "Bearer " + token(i).RevealBearer()
		if _, err := h.group.Authenticate(context.Background(), header); err != nil {
			tb.Fatal(err)
		}
		h.headers = append(h.headers, header)
	}
	return h
}

// token returns the i-th token, whose qualified name has 36 bytes.
func token(i int) tokencache.Token {
	t, err := tokencache.NewToken(peers.Account.TokenID(fmt.Sprintf("token-%09d", i)), tokencache.NewSecret("0123456789abcdefghijkl"))
	if err != nil {
		panic(err)
	}
	return t
}

// present confirms every token, absent none.
type present struct{}

func yes(tokencache.Secret) bool { return true }

func (present) Lookup(context.Context, tokencache.TokenID) (tokencache.Answer[struct{}], error) {
	return tokencache.Answer[struct{}]{Held: true, Verify: yes}, nil
}
func (present) Subscribe(tokencache.Invalidator) func() { return func() {} }

type absent struct{ present }

func (absent) Lookup(context.Context, tokencache.TokenID) (tokencache.Answer[struct{}], error) {
	return tokencache.Answer[struct{}]{}, nil
}
func (absent) MayHold(tokencache.TokenID) bool { return false }

func floor(b *testing.B) {
	var buf [16 + 22]byte
	var want [sha256.Size]byte
	b.ReportAllocs()
	for b.Loop() {
		sum := sha256.Sum256(buf[:])
		subtle.ConstantTimeCompare(sum[:], want[:])
	}
}

func (h *host) bench(b *testing.B) {
	ctx := context.Background()
	b.ReportAllocs()
	for i := 0; b.Loop(); {
		if _, err := h.group.Authenticate(ctx, h.headers[i]); err != nil {
			b.Fatal(err)
		}
		if i++; i == len(h.headers) {
			i = 0
		}
	}
}

// kubernetes is the token cache of Kubernetes' API server, asked with bearers.
func kubernetes(b *testing.B) {
	cache := k8s.New(authenticator.TokenFunc(func(context.Context, string) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: "elastic/fleet-server"}}, true, nil
	}), false, 20*time.Minute, 0)
	ctx := context.Background()
	bearers := make([]string, liveTokens)
	for i := range bearers {
		bearers[i] = token(i).RevealBearer()
		cache.AuthenticateToken(ctx, bearers[i])
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); {
		if _, ok, err := cache.AuthenticateToken(ctx, bearers[i]); err != nil || !ok {
			b.Fatal(err)
		}
		if i++; i == len(bearers) {
			i = 0
		}
	}
}

// BenchmarkHit asks what a hit costs, from the Authorization header's value to the
// verdict, with 1 000 live tokens. The floor is one SHA-256 over 16 and 22 bytes and
// one comparison. The peers below svctoken and kubernetes are the bare caches, with
// a plaintext key, which no token cache should have: they neither parse nor hash.
func BenchmarkHit(b *testing.B) {
	b.Run("floor", floor)
	b.Run("svctoken", func(b *testing.B) { newHost(b, 1, liveTokens).bench(b) })
	b.Run("svctoken-second-of-two", func(b *testing.B) { newHost(b, 2, liveTokens).bench(b) })
	b.Run("kubernetes", kubernetes)
	for _, maker := range peers.Makers {
		p := maker(func(context.Context, string) (peers.Version, error) { return 1, nil })
		defer p.Close()
		if p.Evict == nil || p.Name == "svctoken" || strings.HasSuffix(p.Name, "Forget") {
			continue // above, or the same on a hit
		}
		name, _, _ := strings.Cut(p.Name, " ")
		b.Run("bare/"+name, func(b *testing.B) {
			ctx := context.Background()
			keys := make([]string, liveTokens)
			for i := range keys {
				keys[i] = token(i).RevealBearer()
				p.Get(ctx, keys[i])
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); {
				p.Get(ctx, keys[i])
				if i++; i == len(keys) {
					i = 0
				}
			}
		})
	}
}

// BenchmarkScaling asks what more cores bring: run it with -cpu 1,2.
func BenchmarkScaling(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			var buf [16 + 22]byte
			var want [sha256.Size]byte
			for pb.Next() {
				sum := sha256.Sum256(buf[:])
				subtle.ConstantTimeCompare(sum[:], want[:])
			}
		})
	})
	for _, tokens := range []int{1, liveTokens} {
		b.Run(fmt.Sprintf("tokens=%d", tokens), func(b *testing.B) {
			h := newHost(b, 1, tokens)
			h.parallel(b)
		})
	}
}

func (h *host) parallel(b *testing.B) {
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); {
			if _, err := h.group.Authenticate(ctx, h.headers[i]); err != nil {
				b.Error(err)
				return
			}
			if i++; i == len(h.headers) {
				i = 0
			}
		}
	})
}

// BenchmarkDisturbed asks what hits lose while another account is evicted by
// wildcard 10 000 times a second, or another cache of the group cleared 10 times a
// second. On two cores the disturbance takes part of one, so it is run with hits on
// one.
func BenchmarkDisturbed(b *testing.B) {
	for _, disturbance := range []struct {
		name  string
		every time.Duration
		do    func(*testing.B, *host) func()
	}{
		{"quiet", 0, nil},
		{"evictions", 100 * time.Microsecond, func(b *testing.B, h *host) func() {
			sel, err := tokencache.Account{Namespace: "elastic", Service: "other"}.SelectAll()
			if err != nil {
				b.Fatal(err)
			}
			return func() { h.group.Evict(context.Background(), tokencache.CauseAsked, sel) }
		}},
		{"clearings", 100 * time.Millisecond, func(b *testing.B, h *host) func() {
			c, err := tokencache.New(h.group, "reloaded", present{}, tokencache.Config{})
			if err != nil {
				b.Fatal(err)
			}
			return func() {
				for i := range liveTokens {
					c.AuthenticateToken(context.Background(), token(i))
				}
				c.Clear(context.Background(), tokencache.CauseAsked)
			}
		}},
	} {
		b.Run(disturbance.name, func(b *testing.B) {
			h := newHost(b, 1, liveTokens)
			var stop atomic.Bool
			done := make(chan int)
			if disturbance.do != nil {
				do := disturbance.do(b, h)
				go func() {
					n := 0
					for next := time.Now(); !stop.Load(); n++ {
						do()
						for next = next.Add(disturbance.every); time.Now().Before(next) && !stop.Load(); {
							runtime.Gosched()
						}
					}
					done <- n
				}()
			} else {
				go func() { done <- 0 }()
			}
			h.bench(b)
			stop.Store(true)
			b.ReportMetric(float64(<-done)/b.Elapsed().Seconds(), "disturbances/s")
		})
	}
}

// BenchmarkBesideMisses asks what a hit loses while another core loads and evicts a
// token, one after the other without a pause: in another group, with which nothing
// is shared but the machine; in another cache of the group; in the same cache; and of
// the same account in it. Run it with -cpu 2.
func BenchmarkBesideMisses(b *testing.B) {
	other := tokencache.Account{Namespace: "elastic", Service: "other"}
	for _, where := range []string{"another-group", "another-cache", "same-cache", "same-account"} {
		b.Run(where, func(b *testing.B) {
			h := newHost(b, 1, liveTokens)
			group, account, load := h.group, other, h.group.AuthenticateToken
			switch where {
			case "same-account":
				account = peers.Account
			case "same-cache":
			default:
				if where == "another-group" {
					group = tokencache.NewGroup(tokencache.GroupConfig{})
					defer group.Close()
				}
				c, err := tokencache.New(group, "other", present{}, tokencache.Config{})
				if err != nil {
					b.Fatal(err)
				}
				load = func(ctx context.Context, tok tokencache.Token) (v tokencache.Verdict[any], err error) {
					_, err = c.AuthenticateToken(ctx, tok)
					return v, err
				}
			}
			tok, err := tokencache.NewToken(account.TokenID("busy"), tokencache.NewSecret("0123456789abcdefghijkl"))
			if err != nil {
				b.Fatal(err)
			}
			sel, err := account.Select("busy")
			if err != nil {
				b.Fatal(err)
			}
			var stop atomic.Bool
			done := make(chan int)
			go func() {
				n := 0
				for ; !stop.Load(); n++ {
					load(context.Background(), tok)
					group.Evict(context.Background(), tokencache.CauseAsked, sel)
				}
				done <- n
			}()
			h.bench(b)
			stop.Store(true)
			b.ReportMetric(float64(<-done)/b.Elapsed().Seconds(), "misses/s")
		})
	}
}
