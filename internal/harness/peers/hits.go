package peers

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"

	"github.com/svctoken/svctoken/internal/harness/peers/turns"
)

// SecretLengths are those of secrets in the field: the shortest, what svctoken and
// Elasticsearch generate, a hexadecimal digest's, and what cloud-on-k8s makes.
var SecretLengths = []int{10, 22, 32, 64}

// A Comparison is a set of contestants' times, by name.
type Comparison struct {
	Names []string // in order
	Times map[string]turns.Times
}

// compare lets contestants take turns.
func compare(clock turns.Clock, rounds int, contestants ...turns.Contestant) Comparison {
	c := Comparison{Times: make(map[string]turns.Times)}
	for _, t := range turns.Compare(clock, rounds, contestants...) {
		c.Names = append(c.Names, t.Name)
		c.Times[t.Name] = t
	}
	return c
}

// Ratio returns how many times as long as the other one contestant takes.
func (c Comparison) Ratio(one, other string) turns.Ratio {
	return c.Times[one].Against(c.Times[other])
}

// Add adds the rounds of another comparison of the same contestants. The best of many
// rounds depends less on how busy the machine is.
func (c *Comparison) Add(o Comparison) {
	if c.Times == nil {
		*c = o
		return
	}
	for name, t := range o.Times {
		t.Rounds = append(c.Times[name].Rounds, t.Rounds...)
		c.Times[name] = t
	}
}

// Floor is what every cache without plaintext must do: one SHA-256 over a key of 16 bytes
// and the secret, and one comparison.
func Floor(secret int) turns.Contestant {
	buf := make([]byte, 16+secret)
	var want [sha256.Size]byte
	return turns.Contestant{Name: fmt.Sprint("floor ", secret), Do: func(n int) {
		for range n {
			sum := sha256.Sum256(buf)
			subtle.ConstantTimeCompare(sum[:], want[:])
		}
	}}
}

// Hit asks a host with each of its headers in turn.
func Hit(name string, h *Host) turns.Contestant { return ask(name, h, h.Headers, false) }

func ask(name string, h *Host, headers []string, refused bool) turns.Contestant {
	ctx := context.Background()
	next := 0
	return turns.Contestant{Name: name, Do: func(n int) {
		i := next // contestants that run at the same time may have their next in one line of the cache
		for range n {
			if _, err := h.Group.Authenticate(ctx, headers[i]); (err != nil) != refused {
				panic(fmt.Sprint(name, ": ", err))
			}
			if i++; i == len(headers) {
				i = 0
			}
		}
		next = i
	}}
}

// Hits compares hits, from the Authorization header to the verdict, with their floors
// and with the peers. Those whose names begin with bare get a plaintext key: they
// neither parse a bearer nor hash a secret, and no token cache should be used this way.
func Hits(rounds int) Comparison {
	var contestants []turns.Contestant
	for _, n := range SecretLengths {
		h := NewHost(HostOptions{Secrets: []int{n}, Padded: n == 64})
		defer h.Group.Close()
		contestants = append(contestants, Floor(n), Hit(fmt.Sprint("hit ", n), h))
	}
	one := NewHost(HostOptions{})
	hot := NewHost(HostOptions{Tokens: 1})
	two := NewHost(HostOptions{Caches: 2})
	mixed := NewHost(HostOptions{Secrets: SecretLengths})
	for _, h := range []*Host{one, hot, two, mixed} {
		defer h.Group.Close()
	}
	wrong := make([]string, len(one.Headers))
	for i := range wrong {
		wrong[i] = WrongHeader(i, 22)
	}
	contestants = append(contestants,
		Hit("one hot token", hot),
		Hit("second of two caches", two),
		Hit("secrets of all lengths", mixed),
		ask("wrong secret", one, wrong, true),
		ask("wrong secret, second of two caches", two, wrong, true),
	)
	for _, maker := range Makers {
		p := maker(func(context.Context, string) (Version, error) { return 1, nil })
		defer p.Close()
		if p.Name == "svctoken" || strings.HasSuffix(p.Name, "Forget") {
			continue // above, or the same on a hit
		}
		contestants = append(contestants, peer(p, one.Headers))
	}
	return compare(turns.Thread, rounds, contestants...)
}

// peer asks a peer for 1 000 keys in turn.
func peer(p Peer, headers []string) turns.Contestant {
	name, _, _ := strings.Cut(p.Name, " ")
	if p.Evict == nil {
		name = "kubernetes"
	} else {
		name = "bare " + name
	}
	ctx := context.Background()
	keys := make([]string, len(headers))
	for i := range keys {
		keys[i] = strings.TrimPrefix(headers[i], "Bearer ")
		must(p.Get(ctx, keys[i]))
	}
	next := 0
	return turns.Contestant{Name: name, Do: func(n int) {
		for range n {
			if v, err := p.Get(ctx, keys[next]); v != 1 || err != nil {
				panic(fmt.Sprint(name, ": ", v, err))
			}
			if next++; next == len(keys) {
				next = 0
			}
		}
	}}
}
