package tokencache_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// TestTextsOfEachLength: names and accounts of all lengths are remembered, and told
// apart from their neighbours.
func TestTextsOfEachLength(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c, err := tokencache.New(g, "test", open{}, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var tokens []tokencache.Token
	for n := 1; n <= 256; n++ {
		tokens = append(tokens, mustToken(t, "a/b/"+strings.Repeat("n", n), "supersecret"))
	}
	for n := 1; n <= 128; n++ {
		tokens = append(tokens, mustToken(t, strings.Repeat("a", n)+"/"+strings.Repeat("s", 129-n)+"/n", "supersecret"))
	}
	for _, want := range []bool{false, true} {
		for _, token := range tokens {
			v, err := g.Authenticate(t.Context(), header(token))
			if err != nil || v.FromMemory != want || v.Token != token.ID() {
				t.Fatalf("%v: got %v from memory %t, %v; want %t", token.ID(), v.Token, v.FromMemory, err, want)
			}
		}
	}
	if got := c.Stats(); got.Loads != uint64(len(tokens)) || got.Entries != len(tokens) {
		t.Errorf("got %d loads and %d entries of %d tokens", got.Loads, got.Entries, len(tokens))
	}
}

// records is a source whose records can be seen to be collected.
type records struct {
	open
	collected atomic.Int64
}

func (r *records) Lookup(context.Context, tokencache.TokenID) (tokencache.Answer[*[64]byte], error) {
	record := new([64]byte)
	runtime.AddCleanup(record, func(n *atomic.Int64) { n.Add(1) }, &r.collected)
	return tokencache.Answer[*[64]byte]{Held: true, Record: record, Verify: func(tokencache.Secret) bool { return true }}, nil
}

// TestKeptNamePinsOneEntry: a host may keep a verdict's token for years. Its name is part
// of the entry, which must not keep others from being collected.
func TestKeptNamePinsOneEntry(t *testing.T) {
	const tokens = 500
	for _, forget := range []struct {
		name string
		do   func(*tokencache.Group)
	}{
		{"cleared", func(g *tokencache.Group) { g.Clear(context.Background()) }},
		{"evicted", func(g *tokencache.Group) {
			g.Evict(context.Background(), all(t, tokencache.Account{Namespace: "a", Service: "a"}))
		}},
	} {
		t.Run(forget.name, func(t *testing.T) {
			var src records
			g := tokencache.NewGroup(tokencache.GroupConfig{})
			c, err := tokencache.New(g, "test", &src, tokencache.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for i := range tokens {
				g.AuthenticateToken(t.Context(), mustToken(t, fmt.Sprintf("a/a/%d", i), "supersecret"))
			}
			v, err := g.Authenticate(t.Context(), header(mustToken(t, fmt.Sprintf("a/a/%d", tokens/2), "supersecret")))
			if err != nil || !v.FromMemory {
				t.Fatalf("got %+v, %v", v, err)
			}
			kept := v.Token
			v = tokencache.Verdict[any]{}
			forget.do(g)
			for range 1000 { // cleanups run some time after the cycle that finds what they wait for
				if src.collected.Load() >= tokens-1 {
					break
				}
				runtime.GC()
			}
			if got := src.collected.Load(); got < tokens-1 {
				t.Errorf("%d of %d records were collected, want all but one at most", got, tokens)
			}
			runtime.KeepAlive(kept)
		})
	}
}
