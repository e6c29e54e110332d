// Package peers builds the caches that a Go user would otherwise pick for tokens, behind
// one interface, so that svctoken can be measured against them: golang-lru and its
// expirable with singleflight, otter, theine, ttlcache, sturdyc, and the token cache of
// Kubernetes' API server.
//
// Each is set up as its documentation suggests. Its loads are coalesced in its own way,
// or else by singleflight.
package peers

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/jellydator/ttlcache/v3"
	"github.com/maypok86/otter/v2"
	"github.com/viccon/sturdyc"
	"golang.org/x/sync/singleflight"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	k8s "k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"

	theine "github.com/Yiling-J/theine-go"

	"github.com/svctoken/svctoken/internal/harness/peers/options"
	"github.com/svctoken/svctoken/tokencache"
)

// A Version is a source's answer for a key.
type Version int

// A Source loads a key.
type Source func(ctx context.Context, key string) (Version, error)

// A Peer is a cache under comparison, over one source.
type Peer struct {
	Name     string
	Get      func(ctx context.Context, key string) (Version, error)
	Evict    func(key string) // nil: it has no such thing
	EvictAll func()           // nil: it has no such thing
	Close    func()
}

const (
	capacity = 10_000
	ttl      = 20 * time.Minute
)

// Makers make one of each peer, over a source. Svctoken is the last.
var Makers = []func(Source) Peer{
	func(s Source) Peer { return golangLRU(s, false) },
	func(s Source) Peer { return golangLRU(s, true) },
	func(s Source) Peer { return expirableLRU(s, false) },
	func(s Source) Peer { return expirableLRU(s, true) },
	otterCache, theineCache, ttlCache, sturdycCache, Kubernetes, Svctoken,
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// simple is a cache that does not load by itself.
type simple interface {
	Get(string) (Version, bool)
	Add(string, Version) bool
	Remove(string) bool
	Purge()
}

// coalesced is a simple cache with singleflight, in front of a source.
func coalesced(name string, c simple, source Source, forget bool) Peer {
	var flights singleflight.Group
	p := Peer{
		Name: name + " + singleflight",
		Get: func(ctx context.Context, key string) (Version, error) {
			if v, ok := c.Get(key); ok {
				return v, nil
			}
			v, err, _ := flights.Do(key, func() (any, error) {
				v, err := source(ctx, key)
				if err == nil {
					c.Add(key, v)
				}
				return v, err
			})
			return v.(Version), err
		},
		Evict:    func(key string) { c.Remove(key) },
		EvictAll: c.Purge,
		Close:    func() {},
	}
	if forget {
		p.Name += " + Forget"
		// Flights cannot be forgotten all at once: singleflight does not list them.
		p.Evict = func(key string) { c.Remove(key); flights.Forget(key) }
	}
	return p
}

func golangLRU(source Source, forget bool) Peer {
	return coalesced("golang-lru", must(lru.New[string, Version](capacity)), source, forget)
}

func expirableLRU(source Source, forget bool) Peer {
	return coalesced("golang-lru/expirable", expirable.NewLRU[string, Version](capacity, nil, ttl), source, forget)
}

func otterCache(source Source) Peer {
	c := must(otter.New(&otter.Options[string, Version]{
		MaximumSize: capacity, ExpiryCalculator: otter.ExpiryWriting[string, Version](ttl),
	}))
	return Peer{
		Name: "otter",
		Get: func(ctx context.Context, key string) (Version, error) {
			return c.Get(ctx, key, otter.LoaderFunc[string, Version](source))
		},
		Evict:    func(key string) { c.Invalidate(key) },
		EvictAll: c.InvalidateAll,
		Close:    func() { c.StopAllGoroutines() },
	}
}

func theineCache(source Source) Peer {
	c := must(theine.NewBuilder[string, Version](capacity).BuildWithLoader(func(ctx context.Context, key string) (theine.Loaded[Version], error) {
		v, err := source(ctx, key)
		return theine.Loaded[Version]{Value: v, Cost: 1, TTL: ttl}, err
	}))
	return Peer{
		Name:  "theine",
		Get:   c.Get,
		Evict: c.Delete,
		EvictAll: func() {
			var keys []string // Range holds a lock that Delete needs
			c.Range(func(key string, _ Version) bool { keys = append(keys, key); return true })
			for _, key := range keys {
				c.Delete(key)
			}
		},
		Close: c.Close,
	}
}

func ttlCache(source Source) Peer {
	load := ttlcache.LoaderFunc[string, Version](func(c *ttlcache.Cache[string, Version], key string) *ttlcache.Item[string, Version] {
		v, err := source(context.Background(), key)
		if err != nil {
			return nil
		}
		return c.Set(key, v, ttlcache.DefaultTTL)
	})
	c := ttlcache.New(
		ttlcache.WithTTL[string, Version](ttl), ttlcache.WithCapacity[string, Version](capacity),
		ttlcache.WithDisableTouchOnHit[string, Version](),
		ttlcache.WithLoader(ttlcache.NewSuppressedLoader(load, new(singleflight.Group))),
	)
	return Peer{
		Name: "ttlcache",
		Get: func(_ context.Context, key string) (Version, error) {
			if item := c.Get(key); item != nil {
				return item.Value(), nil
			}
			return 0, fmt.Errorf("%s is not there", key)
		},
		Evict:    c.Delete,
		EvictAll: c.DeleteAll,
		Close:    func() {},
	}
}

func sturdycCache(source Source) Peer {
	c := sturdyc.New[Version](capacity, 10, ttl, 10, sturdyc.WithNoContinuousEvictions())
	return Peer{
		Name: "sturdyc",
		Get: func(ctx context.Context, key string) (Version, error) {
			return c.GetOrFetch(ctx, key, func(ctx context.Context) (Version, error) { return source(ctx, key) })
		},
		Evict: c.Delete,
		EvictAll: func() {
			for _, key := range c.ScanKeys() {
				c.Delete(key)
			}
		},
		Close: func() {},
	}
}

// Kubernetes returns the token cache of Kubernetes' API server. It has no
// eviction. Keys are bearer strings.
func Kubernetes(source Source) Peer {
	a := k8s.New(authenticator.TokenFunc(func(ctx context.Context, key string) (*authenticator.Response, bool, error) {
		v, err := source(ctx, key)
		return &authenticator.Response{User: &versioned{user.DefaultInfo{Name: key}, v}}, err == nil, err
	}), false, ttl, 0)
	return Peer{
		Name: "k8s.io/apiserver token cache",
		Get: func(ctx context.Context, key string) (Version, error) {
			resp, ok, err := a.AuthenticateToken(ctx, key)
			if err != nil || !ok {
				return 0, err
			}
			return resp.User.(*versioned).version, nil
		},
		Close: func() {},
	}
}

type versioned struct {
	user.DefaultInfo
	version Version
}

// Account is the account of Svctoken's tokens.
var Account = options.Account

// Svctoken returns svctoken itself. Keys are token names of Account.
func Svctoken(source Source) Peer {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c := must(tokencache.New(g, "peer", svctokenSource{source}, tokencache.Config{TTL: ttl, MaxEntries: capacity}))
	selector := func(key string) tokencache.Selector { return must(Account.Select(key)) }
	return Peer{
		Name: "svctoken",
		Get: func(ctx context.Context, key string) (Version, error) {
			v, err := c.AuthenticateToken(ctx, TokenOf(key))
			return v.Record, err
		},
		Evict:    func(key string) { g.Evict(context.Background(), selector(key)) },
		EvictAll: func() { g.Evict(context.Background(), must(Account.SelectAll())) },
		Close:    g.Close,
	}
}

// TokenOf returns the token of a key.
func TokenOf(key string) tokencache.Token {
	return must(tokencache.NewToken(Account.TokenID(key), tokencache.NewSecret("0123456789abcdefghijkl")))
}

// A svctokenSource adapts a Source to svctoken; it accepts any secret.
type svctokenSource struct{ source Source }

func (s svctokenSource) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[Version], error) {
	v, err := s.source(ctx, id.Name)
	return tokencache.Answer[Version]{Held: true, Record: v, Verify: anySecret}, err
}

func (svctokenSource) Subscribe(tokencache.Invalidator) func() { return func() {} }

func anySecret(tokencache.Secret) bool { return true }
