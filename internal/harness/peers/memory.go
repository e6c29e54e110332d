package peers

import (
	"context"
	"fmt"
	"runtime"
	"strings"

	"github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"

	"github.com/svctoken/svctoken/tokencache"
)

// A Footprint is the memory of a cache of many tokens.
type Footprint struct {
	Name     string
	PerToken float64 // bytes of live heap
}

// A verdict is what the bare caches keep for a token: a record, and a digest, since they
// must not keep the secret either.
type verdict struct {
	_      [32]byte // the digest
	record any
}

// Memory fills caches with n tokens, whose qualified names have 36 bytes, and measures
// the live heap that they add. The bare caches are keyed by the qualified name.
// Everything counts, also the keys, except for what the harness itself needs.
func Memory(n int) []Footprint {
	return []Footprint{
		SvctokenMemory(n),
		{"golang-lru, bare", footprint(n, fillGolangLRU)},
		{"otter, bare", footprint(n, fillOtter)},
		{"k8s.io/apiserver token cache", footprint(n, fillKubernetes)},
	}
}

// SvctokenMemory is Memory for svctoken alone.
func SvctokenMemory(n int) Footprint { return Footprint{"svctoken", footprint(n, fillSvctoken)} }

// footprint measures the live heap before and after filling, for each token.
func footprint(n int, fill func(n int) (keep any)) float64 {
	before := liveHeap()
	keep := fill(n)
	after := liveHeap()
	runtime.KeepAlive(keep)
	if c, ok := keep.(interface{ Close() }); ok {
		c.Close()
	}
	return float64(after-before) / float64(n)
}

func liveHeap() int64 {
	runtime.GC()
	runtime.GC() // frees what finalizers and pools held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func tokenName(i int) string { return fmt.Sprintf("token-%09d", i) }

func qualifiedName(i int) string { return strings.Clone(Account.TokenID(tokenName(i)).String()) }

func fillSvctoken(n int) any {
	g, _ := filled(n)
	return g
}

// filled returns a group with a full cache of n tokens, and a function that fills it
// again.
func filled(n int) (g *tokencache.Group, fill func()) {
	g = tokencache.NewGroup(tokencache.GroupConfig{})
	must(tokencache.New(g, "peer", svctokenSource{func(context.Context, string) (Version, error) { return 1, nil }}, tokencache.Config{MaxEntries: n}))
	fill = func() {
		for i := range n {
			must(g.AuthenticateToken(context.Background(), TokenOf(tokenName(i))))
		}
	}
	fill()
	return g, fill
}

func fillGolangLRU(n int) any {
	c := must(lru.New[string, *verdict](n))
	for i := range n {
		c.Add(qualifiedName(i), &verdict{record: Version(1)})
	}
	return c
}

func fillOtter(n int) any {
	c := must(otter.New(&otter.Options[string, *verdict]{MaximumSize: n, ExpiryCalculator: otter.ExpiryWriting[string, *verdict](ttl)}))
	for i := range n {
		c.Set(qualifiedName(i), &verdict{record: Version(1)})
	}
	c.CleanUp()
	return c
}

func fillKubernetes(n int) any {
	p := Kubernetes(func(context.Context, string) (Version, error) { return 1, nil })
	for i := range n {
		must(p.Get(context.Background(), TokenOf(tokenName(i)).RevealBearer()))
	}
	return p.Get
}
