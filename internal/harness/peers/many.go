package peers

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"

	"github.com/svctoken/svctoken/internal/harness/peers/turns"
)

// LiveTokens are how many tokens ManyTokens has, at each step.
var LiveTokens = []int{1e3, 1e5, 1e6}

// The contestants of ManyTokens, for each number of tokens.
const (
	OneAccount       = "svctoken, one account"
	ThousandAccounts = "svctoken, 1 000 accounts"
	BareLRU          = "bare golang-lru"
	BareOtter        = "bare otter"
	BareMap          = "a map with an RWMutex, keyed by SHA-256"
)

// ManyNames are the names of the contestants of ManyTokens, in order.
var ManyNames = []string{OneAccount, ThousandAccounts, BareLRU, BareOtter, BareMap}

// Among returns the name of a contestant at a number of tokens.
func Among(name string, tokens int) string { return fmt.Sprintf("%s, %d tokens", name, tokens) }

// ManyTokens compares hits on tokens in random order, of a thousand to a million. The
// headers are in the processor's caches, as in a network's buffer, unlike the entries.
// The bare caches get the bearer as their key, and the map its SHA-256.
func ManyTokens(rounds int) Comparison {
	contestants := []turns.Contestant{Floor(22)}
	for _, tokens := range LiveTokens {
		for name, accounts := range map[string]int{OneAccount: 0, ThousandAccounts: 1000} {
			h := NewHost(HostOptions{Tokens: tokens, Accounts: accounts})
			defer h.Group.Close()
			contestants = append(contestants, inRandomOrder(Among(name, tokens), h.Headers, func(header string) bool {
				_, err := h.Group.Authenticate(context.Background(), header)
				return err == nil
			}))
		}
		contestants = append(contestants, bareOnes(tokens)...)
	}
	return compare(turns.Thread, rounds, contestants...)
}

func bareOnes(tokens int) []turns.Contestant {
	headers := make([]string, tokens)
	lru := must(lru.New[string, *verdict](tokens))
	otter := must(otter.New(&otter.Options[string, *verdict]{MaximumSize: 2 * tokens, ExpiryCalculator: otter.ExpiryWriting[string, *verdict](ttl)}))
	byDigest := make(map[[sha256.Size]byte]*verdict)
	for i := range headers {
		headers[i] = Header(i, 22, false)
		bearer := bearerIn(headers[i])
		lru.Add(bearer, &verdict{record: Version(1)})
		otter.Set(bearer, &verdict{record: Version(1)})
		byDigest[sha256.Sum256([]byte(bearer))] = &verdict{record: Version(1)}
	}
	otter.CleanUp()
	var mu sync.RWMutex
	return []turns.Contestant{
		inRandomOrder(Among(BareLRU, tokens), headers, func(header string) bool {
			_, ok := lru.Get(bearerIn(header))
			return ok
		}),
		inRandomOrder(Among(BareOtter, tokens), headers, func(header string) bool {
			_, ok := otter.GetIfPresent(bearerIn(header))
			return ok
		}),
		inRandomOrder(Among(BareMap, tokens), headers, func(header string) bool {
			key := sha256.Sum256([]byte(bearerIn(header)))
			mu.RLock()
			defer mu.RUnlock()
			return byDigest[key] != nil
		}),
	}
}

func bearerIn(header string) string { return strings.TrimPrefix(header, "Bearer ") }

// inRandomOrder asks with headers chosen at random before each turn.
func inRandomOrder(name string, headers []string, hits func(header string) bool) turns.Contestant {
	random := rand.New(rand.NewPCG(1, 2))
	var chosen []string
	return turns.Contestant{
		Name: name,
		Prepare: func(n int) {
			chosen = chosen[:0]
			for range n {
				chosen = append(chosen, strings.Clone(headers[random.IntN(len(headers))]))
			}
		},
		Do: func(int) {
			for _, header := range chosen {
				if !hits(header) {
					panic(name + ": no hit")
				}
			}
		},
	}
}
