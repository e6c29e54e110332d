package peers

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/svctoken/svctoken/internal/harness/peers/turns"
	"github.com/svctoken/svctoken/tokencache"
)

// A NameTiming says whether the time of a refusal tells a name that exists from one
// that does not.
type NameTiming struct {
	Names     string // what is compared with names that do not exist
	HideNames bool
	Tokens    int // how many names exist, and how many of the others are tried
	Rounds    int // of PBKDF2; 0: secrets are compared
	Pairs     int

	// By the processor's time of all goroutines, and by the wall clock.
	Processor, Wall Welch
}

// Welch compares two samples.
type Welch struct {
	T    float64       // the statistic of Welch's t-test
	Less time.Duration // by how much the mean of the second sample is below that of the first
	Mean time.Duration // of the first
}

// The names that are compared with names that do not exist.
const (
	NotCached = "known, not in memory"
	Cached    = "known, in memory"
	Control   = "unknown ones too" // other names that do not exist: the measure's own error
)

// NameTimes sends pairs of refused tokens: a wrong secret for a name that exists, and the
// same for one that does not, of the same account. One of the two comes first at random. The
// slowest twentieth of all refusals is left out: something else had the processor or its
// caches then, and their spread would hide a difference, as the authors of dudect found
// ("Dude, is my code constant time?", 2017). There is one processor for all
// goroutines, and garbage is collected between the pairs.
func NameTimes(names string, hideNames bool, tokens, rounds, pairs int) NameTiming {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	src := make(hashedTokens)
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	defer g.Close()
	must(tokencache.New(g, "cache", src, tokencache.Config{HideNames: hideNames}))
	existing, other := make([]string, tokens), make([]string, tokens)
	for i := range tokens {
		if names != Control {
			src.add(tokenName(i), secretOf(i, 22), rounds)
			existing[i] = WrongHeader(i, 22)
		} else {
			existing[i] = Header(2*tokens+i, 22, false)
		}
		other[i] = Header(tokens+i, 22, false)
		if names == Cached {
			must(g.Authenticate(context.Background(), Header(i, 22, false)))
		}
	}
	// In both cases the account is known, and how long its hashes take.
	src.add(tokenName(3*tokens), secretOf(3*tokens, 22), rounds)
	must(g.Authenticate(context.Background(), Header(3*tokens, 22, false)))

	var processor, wall [2][]float64
	measure := func(class int, header string) {
		began, cost := time.Now(), turns.Now(turns.Process)
		_, err := g.Authenticate(context.Background(), header)
		cost = turns.Now(turns.Process) - cost
		took := time.Since(began)
		if !errors.Is(err, tokencache.ErrRefused) {
			panic(fmt.Sprint("peers: not refused: ", err))
		}
		processor[class] = append(processor[class], float64(cost))
		wall[class] = append(wall[class], float64(took))
	}
	const warm = 100
	for i := range warm + pairs {
		if i%1000 == 0 {
			runtime.GC()
		}
		if i == warm {
			processor, wall = [2][]float64{}, [2][]float64{}
		}
		which := rand.IntN(tokens)
		if first := rand.IntN(2); first == 0 {
			measure(0, existing[which])
			measure(1, other[which])
		} else {
			measure(1, other[which])
			measure(0, existing[which])
		}
	}
	return NameTiming{names, hideNames, tokens, rounds, pairs, WelchOf(processor), WelchOf(wall)}
}

// WelchOf compares two samples, without the largest twentieth of both together.
func WelchOf(samples [2][]float64) Welch {
	together := slices.Sorted(slices.Values(slices.Concat(samples[0], samples[1])))
	limit := together[len(together)*19/20]
	var mean, spread [2]float64 // spread: the variance of the mean
	for i, sample := range samples {
		var n, sum, squares float64
		for _, x := range sample {
			if x < limit {
				n, sum = n+1, sum+x
			}
		}
		mean[i] = sum / n
		for _, x := range sample {
			if x < limit {
				squares += (x - mean[i]) * (x - mean[i])
			}
		}
		spread[i] = squares / (n - 1) / n
	}
	return Welch{
		T:    (mean[0] - mean[1]) / math.Sqrt(spread[0]+spread[1]),
		Less: time.Duration(mean[0] - mean[1]),
		Mean: time.Duration(mean[0]),
	}
}

// hashedTokens is a source that holds hashes of PBKDF2, each with a salt of its own.
type hashedTokens map[tokencache.TokenID]func(tokencache.Secret) bool

func (s hashedTokens) add(name, secret string, rounds int) {
	if rounds == 0 { // neither time nor stack
		s[Account.TokenID(name)] = tokencache.NewSecret(secret).Equal
		return
	}
	salt := fmt.Appendf(nil, "salt of %-24s", name)
	hash := func(secret string) []byte {
		return must(pbkdf2.Key(sha512.New, secret, salt, rounds, 32))
	}
	want := hash(secret)
	s[Account.TokenID(name)] = func(secret tokencache.Secret) bool {
		return subtle.ConstantTimeCompare(hash(secret.Reveal()), want) == 1
	}
}

func (s hashedTokens) Lookup(_ context.Context, id tokencache.TokenID) (tokencache.Answer[Version], error) {
	verify, ok := s[id]
	return tokencache.Answer[Version]{Held: ok, Record: 1, Verify: verify}, nil
}

func (s hashedTokens) Subscribe(tokencache.Invalidator) func() { return func() {} }
