package server

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// How many wrong passwords may be tried. A pair is a user's name and an address, so that
// nobody can lock a user out from another address. The bound for an address covers all
// names that are tried from there.
var (
	pairAllowance    = allowance{burst: 20, every: 6 * time.Second}
	addressAllowance = allowance{burst: 100, every: time.Second}
)

const mostGuarded = 10_000 // pairs, and addresses, that are remembered

// An allowance is how many attempts may be made at once, and how long it takes until
// another one is allowed.
type allowance struct {
	burst int
	every time.Duration
}

// A guard bounds how many passwords are tried. The zero guard is ready. It is safe for
// concurrent use by multiple goroutines.
type guard struct {
	mu        sync.Mutex // guards the fields below
	pairs     *simplelru.LRU[pair, *bucket]
	addresses *simplelru.LRU[string, *bucket]
}

// A pair is a name, which may be a password that somebody has typed there, and an address.
type pair struct {
	name [sha256.Size]byte
	from string
}

func newPair(name, from string) pair { return pair{sha256.Sum256([]byte(name)), from} }

// A bucket holds the attempts that are left.
type bucket struct {
	left float64
	at   time.Time
}

// take uses an attempt for the name and the address, or returns how long to wait for one.
func (g *guard) take(name, from string) (wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.makeLocked()
	now := time.Now()
	byPair, byAddress := get(g.pairs, newPair(name, from)), get(g.addresses, from)
	wait = max(pairAllowance.wait(byPair, now), addressAllowance.wait(byAddress, now))
	if wait == 0 {
		byPair.left--
		byAddress.left--
	}
	return wait
}

// succeeded gives back the attempt that a right password has used, and the earlier ones
// of the same pair.
func (g *guard) succeeded(name, from string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.makeLocked()
	g.pairs.Remove(newPair(name, from))
	get(g.addresses, from).left++ // wait keeps this within the limit
}

func (g *guard) makeLocked() {
	if g.pairs == nil {
		g.pairs, _ = simplelru.NewLRU[pair, *bucket](mostGuarded, nil) // the size is positive
		g.addresses, _ = simplelru.NewLRU[string, *bucket](mostGuarded, nil)
	}
}

func get[K comparable](lru *simplelru.LRU[K, *bucket], key K) *bucket {
	b, ok := lru.Get(key)
	if !ok {
		b = new(bucket)
		lru.Add(key, b)
	}
	return b
}

// wait adds the attempts that have become available since the last call, and returns how
// long to wait for the next one. A new bucket is full.
func (a allowance) wait(b *bucket, now time.Time) time.Duration {
	if b.at.IsZero() {
		b.left = float64(a.burst)
	} else {
		b.left = min(float64(a.burst), b.left+float64(now.Sub(b.at))/float64(a.every))
	}
	b.at = now
	if b.left >= 1 {
		return 0
	}
	return time.Duration((1 - b.left) * float64(a.every))
}
