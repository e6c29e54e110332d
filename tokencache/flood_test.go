package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// A floodSource computes hashes that take their account's time, a second by default,
// and counts those that were begun. A secret of "supersecret" is right.
type floodSource struct {
	tokencache.Source[record]
	takes map[tokencache.Account]time.Duration

	mu     sync.Mutex
	begun  []hash
	now    int // how many are being computed
	atOnce int // the most that were
}

// A hash was begun, for this account or, with a right secret, for this token.
type hash struct {
	whose string
	at    time.Time
}

func newFloodSource() *floodSource {
	return &floodSource{Source: newTestSource(), takes: make(map[tokencache.Account]time.Duration)}
}

func (s *floodSource) Lookup(_ context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	return tokencache.Answer[record]{Held: true, Verify: func(secret tokencache.Secret) bool {
		good := secret.Equal(tokencache.NewSecret("supersecret"))
		name := id.Account.String()
		if good {
			name = id.String()
		}
		s.mu.Lock()
		s.begun = append(s.begun, hash{name, time.Now()})
		s.now++
		s.atOnce = max(s.atOnce, s.now)
		takes, ok := s.takes[id.Account]
		if !ok {
			takes = time.Second
		}
		s.mu.Unlock()
		time.Sleep(takes)
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
		return good
	}}, nil
}

// since returns the accounts whose hashes were begun after the first n, and before
// that of the good token. Two that begin at one instant are not ordered.
func (s *floodSource) since(n int, good tokencache.TokenID) (before []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := slices.IndexFunc(s.begun[n:], func(h hash) bool { return h.whose == good.String() })
	if own < 0 {
		return []string{"its own was not begun"}
	}
	for _, h := range s.begun[n:] {
		if h.at.Before(s.begun[n+own].at) {
			before = append(before, h.whose)
		}
	}
	return before
}

func (s *floodSource) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.begun)
}

// flood makes attackers send wrong secrets for names of the account, one after the
// other each, until the returned function is called.
func flood(t *testing.T, g *tokencache.Group, attackers int, name func(i int) string) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var sent atomic.Int64
	for range attackers {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(sent.Add(1))
				_, err := g.AuthenticateToken(ctx, mustToken(t, name(i), fmt.Sprintf("wrong-secret-%d", i)))
				if errors.Is(err, tokencache.ErrOverloaded) {
					time.Sleep(time.Second) // as Retry-After says
				}
			}
		})
	}
	synctest.Wait()
	return func() { cancel(); wg.Wait() }
}

// TestFloodOfOneAccount: beside wrong secrets for names of one account, first uses of
// good tokens of other accounts are all answered, and no hash of the attacked account
// is begun between a good token's arrival and its own hash.
func TestFloodOfOneAccount(t *testing.T) {
	for _, attackers := range []int{64, 2000} {
		t.Run(fmt.Sprint(attackers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src, g := newFloodSource(), tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 2})
				c := newCache(t, g, "test", src, tokencache.Config{})
				end := flood(t, g, attackers, func(i int) string { return fmt.Sprintf("victims/one/t%d", i%100) })
				for i := range 50 {
					token := mustToken(t, fmt.Sprintf("good/s%d/t%d", i%20, i), "supersecret")
					time.Sleep(7 * time.Millisecond) // the turns that were given back have been taken
					seen, start := src.count(), time.Now()
					check(t, c, token, "ok")
					if before := src.since(seen, token.ID()); len(before) > 0 {
						t.Errorf("token %d: the hashes of %v came first", i, before)
					}
					if took := time.Since(start); took != time.Second {
						t.Errorf("token %d: answered after %v, want the time of its own hash", i, took)
					}
				}
				// Many at once: each waits for no more hashes than there are accounts that
				// hash, the attacked one and the other good ones.
				var good sync.WaitGroup
				for i := range 20 {
					token := mustToken(t, fmt.Sprintf("good/s%d/again", i), "supersecret")
					seen := src.count()
					good.Go(func() {
						check(t, c, token, "ok")
						before := src.since(seen, token.ID())
						attacked := strings.Count(strings.Join(before, ","), "victims/one")
						if len(before) > 20+1 || attacked > (len(before)+19)/20+1 {
							t.Errorf("%v waited for %d hashes, %d of them of the attacked account", token, len(before), attacked)
						}
					})
				}
				good.Wait()
				end()
			})
		})
	}
}

// TestFloodOfTheirOwnNames: what was good before a clearing comes before every hash
// of the attackers that has not begun, even if the attackers have filled the account's
// share of the queue.
func TestFloodOfTheirOwnNames(t *testing.T) {
	for _, attackers := range []int{64, 2000, 4000} {
		t.Run(fmt.Sprint(attackers), func(t *testing.T) {
			if testing.Short() && attackers > 2000 {
				t.Skip("takes long under the race detector")
			}
			synctest.Test(t, func(t *testing.T) {
				src, g := newFloodSource(), tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 2})
				c := newCache(t, g, "test", src, tokencache.Config{})
				good := func(i int) tokencache.Token { return mustToken(t, fmt.Sprintf("a/a/t%d", i), "supersecret") }
				for i := range 10 {
					check(t, c, good(i), "ok")
				}
				g.Clear(t.Context())
				end := flood(t, g, attackers, func(i int) string { return fmt.Sprintf("a/a/t%d", i%10) })
				for i := range 10 {
					time.Sleep(7 * time.Millisecond) // the turns that were given back have been taken
					seen, start := src.count(), time.Now()
					check(t, c, good(i), "ok")
					if before := src.since(seen, good(i).ID()); len(before) > 0 {
						t.Errorf("token %d: the hashes of %v came first", i, before)
					}
					if took := time.Since(start); took > 2*time.Second {
						t.Errorf("token %d: answered after %v, want at most one hash that ran and its own", i, took)
					}
				}
				end()
			})
		})
	}
}

// TestCheapHashesDoNotWaitForDearOnes: twelve accounts whose hashes take a second
// attack; first uses of tokens whose hashes take 10 ms do not wait, though all turns
// are taken, and how many hashes are computed at once stays bounded.
func TestCheapHashesDoNotWaitForDearOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 2
		src, g := newFloodSource(), tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: limit, MaxWait: time.Minute})
		c := newCache(t, g, "test", src, tokencache.Config{})
		for i := range 20 {
			src.takes[tokencache.Account{Namespace: "cheap", Service: fmt.Sprintf("s%d", i)}] = 10 * time.Millisecond
			src.takes[tokencache.Account{Namespace: "middle", Service: fmt.Sprintf("s%d", i)}] = 100 * time.Millisecond
		}
		end := flood(t, g, 240, func(i int) string { return fmt.Sprintf("costly/s%d/t%d", i%12, i%100) })
		time.Sleep(20 * time.Second) // until each has been hashed, and is known to be expensive
		time.Sleep(time.Millisecond)
		for i := range 100 {
			start := time.Now()
			check(t, c, mustToken(t, fmt.Sprintf("cheap/s%d/t%d", i%20, i), "supersecret"), "ok")
			if took := time.Since(start); took != 10*time.Millisecond {
				t.Errorf("token %d: answered after %v, want the time of its own hash", i, took)
			}
		}
		// So for what is cheaper than the cheap ones' attackers.
		endMiddle := flood(t, g, 40, func(i int) string { return fmt.Sprintf("middle/s%d/t%d", i%20, i%100) })
		time.Sleep(20 * time.Second)
		time.Sleep(time.Millisecond)
		for i := range 100 {
			start := time.Now()
			check(t, c, mustToken(t, fmt.Sprintf("cheap/s%d/again%d", i%20, i), "supersecret"), "ok")
			if took := time.Since(start); took != 10*time.Millisecond {
				t.Errorf("again %d: answered after %v, want the time of its own hash", i, took)
			}
		}
		end()
		endMiddle()
		time.Sleep(time.Minute)
		src.mu.Lock()
		defer src.mu.Unlock()
		if src.atOnce > 2*limit+7 {
			t.Errorf("%d hashes were computed at once", src.atOnce)
		}
		if got := g.Stats(); got.Hashing != 0 || got.Waiting != 0 {
			t.Errorf("got %+v, want nothing left", got)
		}
	})
}

// TestCheapHashesOfOneAccount: beside more expensive hashes an account has one turn more at a
// time, and its cheap hashes have it one after the other.
func TestCheapHashesOfOneAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, g := newFloodSource(), tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Minute})
		c := newCache(t, g, "test", src, tokencache.Config{})
		src.takes[tokencache.Account{Namespace: "cheap", Service: "s"}] = 100 * time.Microsecond
		for i := range 4 {
			src.takes[tokencache.Account{Namespace: "costly", Service: fmt.Sprintf("s%d", i)}] = 3 * time.Millisecond
		}
		end := flood(t, g, 40, func(i int) string { return fmt.Sprintf("costly/s%d/t%d", i%4, i%100) })
		time.Sleep(300*time.Millisecond + time.Microsecond) // until each is known to be expensive, and hashes have just begun
		start := time.Now()
		var cheap sync.WaitGroup
		for i := range 5 {
			cheap.Go(func() { check(t, c, mustToken(t, fmt.Sprintf("cheap/s/t%d", i), "supersecret"), "ok") })
		}
		cheap.Wait()
		if took := time.Since(start); took != 500*time.Microsecond {
			t.Errorf("five hashes of 100 us took %v", took)
		}
		end()
	})
}

// TestCostsAreLearned: a hash that took long once, on a busy machine, does not make an
// account's hashes expensive for long; and what was slow at first is cheap after one that
// was quick.
func TestCostsAreLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, g := newFloodSource(), tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Minute})
		c := newCache(t, g, "test", src, tokencache.Config{})
		account := tokencache.Account{Namespace: "cheap", Service: "s"}
		n := 0
		hash := func(takes, want time.Duration) {
			t.Helper()
			src.mu.Lock()
			src.takes[account] = takes
			src.mu.Unlock()
			n++
			start := time.Now()
			check(t, c, mustToken(t, fmt.Sprintf("cheap/s/t%d", n), "supersecret"), "ok")
			if took := time.Since(start); took != want {
				t.Errorf("hash %d: answered after %v, want %v", n, took, want)
			}
		}
		hash(8*time.Second, 8*time.Second)
		hash(10*time.Millisecond, 10*time.Millisecond)
		end := flood(t, g, 40, func(i int) string { return fmt.Sprintf("costly/s%d/t%d", i%4, i%100) })
		time.Sleep(20*time.Second + time.Millisecond)
		hash(10*time.Millisecond, 10*time.Millisecond)
		hash(time.Second, time.Second)
		hash(10*time.Millisecond, 10*time.Millisecond)
		end()
		time.Sleep(time.Minute)
		// It is still known, after a minute without one, that the hashes of two more are
		// expensive: they do not run beside those of an attack.
		end = flood(t, g, 40, func(i int) string { return fmt.Sprintf("costly/s%d/t%d", i%2, i%100) })
		time.Sleep(20*time.Second + time.Millisecond)
		costly := []<-chan result{begin(t, c, "costly/s2/again", "supersecret"), begin(t, c, "costly/s3/again", "supersecret")}
		if got := g.Stats(); got.Hashing != 2 {
			t.Errorf("got %+v, want 2 that hash", got)
		}
		for _, ch := range costly {
			expect(t, ch, nil)
		}
		end()
		time.Sleep(time.Minute)
		g.Clear(t.Context())
		if got := tokencache.Bookkeeping(g); got != 0 {
			t.Errorf("%d things are kept of loads that waited", got)
		}
	})
}

// TestCostsAreForgotten: that an account's hashes are expensive is forgotten after one that
// took less than a millisecond, and after expensive hashes of 4096 other accounts.
func TestCostsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, g := newFloodSource(), tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Minute})
		c := newCache(t, g, "test", src, tokencache.Config{})
		n := 0
		hash := func(account string, takes time.Duration) <-chan result {
			token := mustToken(t, fmt.Sprintf("%s/t%d", account, n), "supersecret")
			n++
			src.mu.Lock()
			src.takes[token.ID().Account] = takes
			src.mu.Unlock()
			return begin(t, c, token.String(), "supersecret")
		}
		expect(t, hash("last/one", 8*time.Second), nil)
		expect(t, hash("first/one", 8*time.Second), nil)
		for i := range 4096 - 1 {
			expect(t, hash(fmt.Sprintf("costly/s%d", i), 8*time.Second), nil)
		}
		expect(t, hash("last/one", 8*time.Second), nil)
		expect(t, hash("quick/now", 8*time.Second), nil)
		expect(t, hash("quick/now", 100*time.Microsecond), nil)
		results := []<-chan result{hash("costly/s4001", 8*time.Second), hash("costly/s4002", 8*time.Second)}
		for account, hashes := range map[string]int{
			"last/one":  2, // is known to be expensive, and waits
			"quick/now": 3, "first/one": 3,
		} {
			results = append(results, hash(account, 100*time.Microsecond))
			if got := g.Stats().Hashing; got != hashes {
				t.Errorf("%s: %d hashes run, want %d", account, got, hashes)
			}
			time.Sleep(time.Millisecond)
		}
		for _, ch := range results {
			expect(t, ch, nil)
		}
	})
}

// TestHashesOfAboutTheSameCost: a hash does not run beside others that take a little
// longer, though they are of the next class.
func TestHashesOfAboutTheSameCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, g := newFloodSource(), tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Minute})
		c := newCache(t, g, "test", src, tokencache.Config{})
		for _, account := range []string{"longer/a", "longer/b"} {
			src.takes[mustToken(t, account+"/t", "supersecret").ID().Account] = 1100 * time.Millisecond // class 11
		}
		for _, name := range []string{"longer/a/t", "longer/b/t", "a/a/t"} { // the last one takes a second, class 10
			expect(t, begin(t, c, name, "supersecret"), nil)
		}
		results := []<-chan result{begin(t, c, "longer/a/u", "supersecret"), begin(t, c, "longer/b/u", "supersecret"), begin(t, c, "a/a/u", "supersecret")}
		if got := g.Stats(); got.Hashing != 2 || got.Waiting != 1 {
			t.Errorf("got %+v, want 2 that hash, and one that waits", got)
		}
		for _, ch := range results {
			expect(t, ch, nil)
		}
	})
}

// TestNothingIsLeftOfAFlood: 4000 callers wait for loads of one account that hang,
// with a source that ignores its context. Good tokens of others do not wait, and a
// second after the source is back nothing is left.
func TestNothingIsLeftOfAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, release := newTestSource(), make(chan struct{})
		for i := range 50 {
			src.set(mustToken(t, fmt.Sprintf("good/s%d/t", i), "supersecret"))
		}
		src.before = func(_ context.Context, id tokencache.TokenID) error {
			if id.Account.Namespace == "bad" {
				<-release
			}
			return nil
		}
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{LoadTimeout: time.Second})
		var attackers sync.WaitGroup
		for i := range 4000 {
			attackers.Go(func() {
				for n := range 10 {
					c.AuthenticateToken(t.Context(), mustToken(t, fmt.Sprintf("bad/one/t%d-%d", i, n), "supersecret"))
					time.Sleep(time.Second)
				}
			})
		}
		for i := range 50 {
			time.Sleep(300 * time.Millisecond)
			start := time.Now()
			check(t, c, mustToken(t, fmt.Sprintf("good/s%d/t", i), "supersecret"), "ok")
			if took := time.Since(start); took != 0 {
				t.Errorf("token %d waited for %v", i, took)
			}
		}
		if got := c.Stats(); got.Abandoned == 0 {
			t.Errorf("got %+v, want strays, or the test shows nothing", got)
		}
		attackers.Wait()
		close(release)
		time.Sleep(time.Second)
		c.Clear(t.Context(), tokencache.CauseAsked) // the good tokens, and absences
		synctest.Wait()
		if got := tokencache.Bookkeeping(g); got != 0 {
			t.Errorf("%d things are kept for accounts", got)
		}
		if got := c.Stats(); got.Abandoned+got.Loading+got.Waiting+got.Entries != 0 {
			t.Errorf("got %+v, want nothing left", got)
		}
		stacks := make([]byte, 1<<20)
		if stacks = stacks[:runtime.Stack(stacks, true)]; strings.Contains(string(stacks), "tokencache.(*load)") {
			t.Errorf("goroutines are left:\n%s", stacks)
		}
	})
}
