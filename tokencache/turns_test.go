package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

func TestALoadThatWaitedTooLongComputesNoHash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t, "a/a/0", "a/a/1", "a/a/2")
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Second / 2})
		c := newCache(t, g, "test", src, tokencache.Config{})
		first := begin(t, c, "a/a/0", "supersecret")
		expect(t, begin(t, c, "a/a/1", "supersecret"), tokencache.ErrOverloaded)
		expect(t, first, nil)
		if got := src.hashed(); len(got) != 1 {
			t.Errorf("computed the hashes of %v", got)
		}
		first = begin(t, c, "a/a/1", "supersecret")
		expect(t, begin(t, c, "a/a/2", "supersecret"), tokencache.ErrOverloaded) // the bound is as it was
		expect(t, first, nil)
	})
}

// A slowSource computes hashes that take a second, and notes whose.
type slowSource struct {
	*testSource
	mu    sync.Mutex
	order []string
}

func newSlowSource(t testing.TB, names ...string) *slowSource {
	s := &slowSource{testSource: newTestSource()}
	for _, name := range names {
		s.set(mustToken(t, name, "supersecret"))
	}
	return s
}

func (s *slowSource) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	a, err := s.testSource.Lookup(ctx, id)
	if verify := a.Verify; verify != nil {
		a.Verify = func(secret tokencache.Secret) bool {
			whose := id.String()
			if !secret.Equal(tokencache.NewSecret("supersecret")) {
				whose += ", wrong"
			}
			s.mu.Lock()
			s.order = append(s.order, whose)
			s.mu.Unlock()
			time.Sleep(time.Second)
			return verify(secret)
		}
	}
	return a, err
}

func (s *slowSource) hashed() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

// TestTurnsByAccountThenNameThenFirstCome: one turn, and one more for an account
// that computes nothing.
func TestTurnsByAccountThenNameThenFirstCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t, "x/x/x", "y/y/y", "a/a/a1", "a/a/a2", "b/b/b1", "c/c/c1")
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: time.Minute})
		c := newCache(t, g, "test", src, tokencache.Config{})
		results := []<-chan result{begin(t, c, "x/x/x", "supersecret")}
		time.Sleep(100 * time.Millisecond)
		for _, name := range []string{"y/y/y", "a/a/a1"} {
			results = append(results, begin(t, c, name, "supersecret"))
		}
		wrong := begin(t, c, "a/a/a1", "wrong-secret")
		for _, name := range []string{"a/a/a2", "b/b/b1", "c/c/c1"} {
			results = append(results, begin(t, c, name, "supersecret"))
		}
		if got := g.Stats(); got.Hashing != 2 || got.Waiting != 5 {
			t.Errorf("got %+v, want 2 that hash and 5 that wait", got)
		}
		for _, ch := range results {
			expect(t, ch, nil)
		}
		expect(t, wrong, tokencache.ErrRefused)
		want := []string{"x/x/x", "y/y/y", "a/a/a1", "b/b/b1", "c/c/c1", "a/a/a2", "a/a/a1, wrong"}
		if diff := cmp.Diff(want, src.hashed()); diff != "" {
			t.Errorf("order of the hashes (-want +got):\n%s", diff)
		}
		if got := g.Stats(); got.Hashing != 0 || got.Waiting != 0 || got.Confirmed != 6 || got.Refused != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

func (s *slowSource) account(name string) tokencache.Account {
	id, _ := tokencache.ParseTokenID(name)
	return id.Account
}

// TestWaitingHasItsOwnBound: waiting for a turn does not count against the load's
// time, and ends with an error of its own.
func TestWaitingHasItsOwnBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t, "a/a/0", "a/a/1", "a/a/2", "a/a/3", "a/a/4")
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxWait: 3500 * time.Millisecond})
		c := newCache(t, g, "test", src, tokencache.Config{LoadTimeout: 1500 * time.Millisecond})
		start := time.Now()
		var results []<-chan result
		for i := range 5 {
			results = append(results, begin(t, c, fmt.Sprintf("a/a/%d", i), "supersecret"))
		}
		for _, ch := range results[:4] {
			expect(t, ch, nil)
		}
		err := (<-results[4]).err
		noAnswer, _ := errors.AsType[*tokencache.NoAnswerError](err)
		if !errors.Is(err, tokencache.ErrOverloaded) || errors.Is(err, context.DeadlineExceeded) || noAnswer.RetryAfter < time.Second || noAnswer.Cache != "test" {
			t.Errorf("got %#v", err)
		}
		if got := time.Since(start); got != 4*time.Second {
			t.Errorf("it all took %v", got)
		}
		if got := g.Stats(); got.Overloaded != 1 || got.Confirmed != 4 || got.Hashing+got.Waiting != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestWaitersAreDisplaced: an account fills the queue while nobody else waits, and gives
// them back one by one as others come, until it waits with no more than they do.
func TestWaitersAreDisplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t, "x/x/x", "y/y/y")
		for i := range 20 {
			src.set(mustToken(t, fmt.Sprintf("many/a/%d", i), "supersecret"))
			src.set(mustToken(t, fmt.Sprintf("few/a/%d", i), "supersecret"))
		}
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxQueue: 16, MaxWait: time.Hour})
		c := newCache(t, g, "test", src, tokencache.Config{})
		begin(t, c, "x/x/x", "supersecret")
		begin(t, c, "y/y/y", "supersecret")
		var many, few []<-chan result
		for i := range 17 {
			many = append(many, begin(t, c, fmt.Sprintf("many/a/%d", i), "supersecret"))
		}
		for i := range 9 {
			few = append(few, begin(t, c, fmt.Sprintf("few/a/%d", i), "supersecret"))
		}
		turnedAway := func(results []<-chan result) (n int) {
			for _, ch := range results {
				r := <-ch
				if noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](r.err); ok && noAnswer.Reason == tokencache.ReasonOverloaded && noAnswer.RetryAfter >= time.Second {
					n++
				} else if r.err != nil {
					t.Error(r.err)
				}
			}
			return n
		}
		if got := g.Stats(); got.Waiting != 16 {
			t.Errorf("got %+v, want 16 that wait", got)
		}
		if got := turnedAway(many); got != 1+8 {
			t.Errorf("%d of the account with many were turned away, want the newcomer and 8", got)
		}
		if got := turnedAway(few); got != 1 {
			t.Errorf("%d of the account with few were turned away, want 1", got)
		}
		if got := g.Stats(); got.Overloaded != 10 || got.Hashing+got.Waiting != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestNobodyElseWaits: a host with one account gets all of a burst answered.
func TestNobodyElseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 5000
		src := newTestSource()
		for i := range n {
			src.set(mustToken(t, fmt.Sprintf("only/one/%d", i), "supersecret"))
		}
		src.before = func(context.Context, tokencache.TokenID) error { time.Sleep(time.Millisecond); return nil }
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
		var results []<-chan result
		for i := range n {
			results = append(results, async(t.Context(), c, mustToken(t, fmt.Sprintf("only/one/%d", i), "supersecret")))
		}
		for _, ch := range results {
			expect(t, ch, nil)
		}
	})
}

// TestAbandonedHashesAreNotBegun: what waits for a slot, or for a turn to hash, does
// not begin when its only caller has gone. What another caller waits for does.
func TestAbandonedHashesAreNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t, "a/a/0", "a/a/1", "a/a/2", "b/b/b")
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1})
		c := newCache(t, g, "test", src, tokencache.Config{})
		first, second := begin(t, c, "a/a/0", "supersecret"), begin(t, c, "b/b/b", "supersecret")
		ctx, cancel := context.WithCancel(t.Context())
		gone := async(ctx, c, mustToken(t, "a/a/1", "supersecret"))
		shared := async(ctx, c, mustToken(t, "a/a/2", "supersecret"))
		synctest.Wait()
		stays := begin(t, c, "a/a/2", "supersecret")
		cancel()
		expect(t, gone, context.Canceled)
		expect(t, shared, context.Canceled)
		for _, ch := range []<-chan result{first, second, stays} {
			expect(t, ch, nil)
		}
		if got := src.hashed(); len(got) != 3 || slices.Contains(got, "a/a/1") {
			t.Errorf("computed the hashes of %v", got)
		}
		if got := g.Stats(); got.GaveUp != 2 || got.Waiting != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

// TestAbandonedWhileReading: a load whose only caller has gone while its source was
// read computes no hash; one with a caller left does.
func TestAbandonedWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, gate := newSlowSource(t, "a/a/gone", "a/a/shared"), newGate()
		src.before = gate.pass
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{})
		ctx, cancel := context.WithCancel(t.Context())
		gone := async(ctx, c, mustToken(t, "a/a/gone", "supersecret"))
		shared := async(ctx, c, mustToken(t, "a/a/shared", "supersecret"))
		synctest.Wait()
		stays := begin(t, c, "a/a/shared", "supersecret")
		cancel()
		expect(t, gone, context.Canceled)
		expect(t, shared, context.Canceled)
		close(gate.open)
		expect(t, stays, nil)
		if diff := cmp.Diff([]string{"a/a/shared"}, src.hashed()); diff != "" {
			t.Errorf("hashes (-want +got):\n%s", diff)
		}
		if got := c.Stats(); got.Loads != 2 || got.Stored != 1 || got.Discarded != 1 || got.Refusals != 0 {
			t.Errorf("got %+v, want one stored and one discarded", got)
		}
		c.Clear(t.Context(), tokencache.CauseAsked)
		if got := tokencache.Bookkeeping(g); got != 0 {
			t.Errorf("%d things are left", got)
		}
		expect(t, begin(t, c, "a/a/gone", "supersecret"), nil)
	})
}

// TestALoadKeepsItsSecret: the caller that began a load has gone, and with it the
// bearer that was decoded for it; the load keeps the secret until it ends, for its
// other waiters.
func TestALoadKeepsItsSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "a/a/shared", "supersecret")
		src, gate := newTestSource(token), newGate()
		src.before = gate.pass
		c := solo(t, src, tokencache.Config{})
		send := func(ctx context.Context) <-chan error {
			ch := make(chan error, 1)
			go func() {
				_, err := c.Authenticate(ctx, header(token))
				ch <- err
			}()
			synctest.Wait()
			return ch
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone, stays := send(ctx), send(t.Context())
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		close(gate.open)
		if err := <-stays; err != nil {
			t.Errorf("got %v, want it confirmed", err)
		}
	})
}

// TestAbandonedInTheQueueForSlots is the same before the source is read.
func TestAbandonedInTheQueueForSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, gate := newTestSource(mustToken(t, "a/a/0", "supersecret")), newGate()
		src.before = gate.pass
		c := solo(t, src, tokencache.Config{MaxLoads: 1})
		first := begin(t, c, "a/a/0", "supersecret")
		ctx, cancel := context.WithCancel(t.Context())
		gone := async(ctx, c, mustToken(t, "a/a/1", "supersecret"))
		synctest.Wait()
		if got := c.Stats(); got.Waiting != 1 || got.Loading != 1 {
			t.Errorf("got %+v", got)
		}
		cancel()
		expect(t, gone, context.Canceled)
		close(gate.open)
		expect(t, first, nil)
		if got := c.Stats(); got.Loads != 1 || got.Waiting != 0 || got.Loading != 0 {
			t.Errorf("got %+v, want one load", got)
		}
	})
}

// TestTurnedAwayByItsOwnAccount: the only place to wait for a hash is taken by a
// load of the same account, whose secret was never good.
func TestTurnedAwayByItsOwnAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, bad := mustToken(t, "a/b/good", "supersecret"), mustToken(t, "a/b/bad", "never-good")
		x, y := mustToken(t, "x/x/x", "supersecret"), mustToken(t, "y/y/y", "supersecret")
		src := newTestSource(good, bad, x, y)
		var g *tokencache.Group
		g = tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxQueue: 1, Observer: func(context.Context, tokencache.Event) {
			g.Stats() // takes the mutex, which must be free
		}})
		c := newCache(t, g, "test", src, tokencache.Config{})
		check(t, c, good, "ok")
		c.Evict(t.Context(), tokencache.CauseAsked, all(t, good.ID().Account))
		open := make(chan struct{})
		src.verify = func(tokencache.Secret) bool { <-open; return true }
		var results []<-chan result
		for _, token := range []tokencache.Token{x, y, bad, good} {
			results = append(results, async(t.Context(), c, token))
			synctest.Wait()
		}
		if r := <-results[2]; !errors.Is(r.err, tokencache.ErrOverloaded) {
			t.Errorf("the secret that was never good got %v, want ErrOverloaded", r.err)
		}
		close(open)
		for _, i := range []int{0, 1, 3} {
			if r := <-results[i]; r.err != nil {
				t.Errorf("request %d: %v", i, r.err)
			}
		}
		if got := g.Stats(); got.Hashing != 0 || got.Waiting != 0 {
			t.Errorf("got %+v, want nothing left", got)
		}
	})
}

// TestGoodComesIn: if the queue is full, each place held by another account, a secret
// that was good takes the place of one that was not: of its own account if that has
// one.
func TestGoodComesIn(t *testing.T) {
	for _, test := range []struct{ waits, out string }{{"b/b/b", "b/b/b a/a/a"}, {"v/v/bad", "v/v/bad"}} {
		synctest.Test(t, func(t *testing.T) {
			good := mustToken(t, "v/v/good", "supersecret")
			src, gate := newTestSource(good), newGate()
			c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{MaxQueue: 2}), "test", src, tokencache.Config{MaxLoads: 1})
			check(t, c, good, "ok")
			c.Clear(t.Context(), tokencache.CauseAsked)
			src.before = gate.pass
			begin(t, c, "x/x/x", "supersecret")
			waiting := map[string]<-chan result{}
			for _, name := range []string{test.waits, "a/a/a"} {
				waiting[name] = begin(t, c, name, "never-good")
			}
			in := async(t.Context(), c, good)
			synctest.Wait()
			var out strings.Builder
			for name, ch := range waiting {
				select {
				case r := <-ch:
					if out.WriteString(name); !errors.Is(r.err, tokencache.ErrOverloaded) {
						t.Errorf("%s: got %v", name, r.err)
					}
				default:
				}
			}
			if !slices.Contains(strings.Fields(test.out), out.String()) {
				t.Errorf("with %s: got %q turned away, want one of %q", test.waits, out.String(), test.out)
			}
			close(gate.open)
			expect(t, in, nil)
		})
	}
}

// TestNothingIsLeftOfWhoFoundNoPlace: nobody waits with more than one load, so a
// newcomer is turned away, and forgotten.
func TestNothingIsLeftOfWhoFoundNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSlowSource(t, "a/a/t", "b/b/t", "c/c/t", "d/d/t", "e/e/t")
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxQueue: 2})
		c := newCache(t, g, "test", src, tokencache.Config{})
		var results []<-chan result
		for _, name := range []string{"a/a/t", "b/b/t", "c/c/t", "d/d/t"} { // two that hash, and two that wait
			results = append(results, begin(t, c, name, "supersecret"))
		}
		expect(t, begin(t, c, "e/e/t", "supersecret"), tokencache.ErrOverloaded)
		for _, ch := range results {
			expect(t, ch, nil)
		}
		g.Clear(t.Context())
		if got := tokencache.Bookkeeping(g); got != 0 {
			t.Errorf("%d accounts are left", got)
		}
	})
}

// TestRetryAfterGrowsWithTheWork: a caller that is turned away is told how long the
// hashes, or reads, take that wait before it, as they took lately.
func TestRetryAfterGrowsWithTheWork(t *testing.T) {
	const waiting = 16
	names := []string{"n/first/x", "n/late/x"}
	for i := range waiting + 2 {
		names = append(names, fmt.Sprintf("n/a%d/x", i))
	}
	for _, test := range []struct {
		what  string
		hash  bool
		begin []string // as many as have a turn, or wait for one
	}{
		{"hashes", true, names[2:]}, // one turn, and one more for an account without one
		{"reads", false, names[3:]},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxQueue: waiting, MaxWait: time.Hour})
			var c *tokencache.Cache[record]
			if test.hash {
				c = newCache(t, g, "test", newSlowSource(t, names...), tokencache.Config{})
			} else {
				src := newSlowSource(t, names...).testSource
				src.before = func(context.Context, tokencache.TokenID) error { time.Sleep(time.Second); return nil }
				c = newCache(t, g, "test", src, tokencache.Config{MaxLoads: 1})
			}
			for range 20 { // each takes a second
				check(t, c, mustToken(t, "n/first/x", "wrong-secret"), "refused")
			}
			var results []<-chan result
			for _, name := range test.begin {
				results = append(results, begin(t, c, name, "supersecret"))
			}
			if got := g.Stats().Waiting + c.Stats().Waiting; got != waiting {
				t.Fatalf("%s: %d wait, want %d", test.what, got, waiting)
			}
			_, err := c.AuthenticateToken(t.Context(), mustToken(t, "n/late/x", "supersecret"))
			noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err)
			if !ok || !errors.Is(err, tokencache.ErrOverloaded) || noAnswer.RetryAfter < 14*time.Second || noAnswer.RetryAfter > waiting*time.Second {
				t.Errorf("%s: got %v, want that it says to try again after about %ds", test.what, err, waiting)
			}
			for _, ch := range results {
				<-ch
			}
		})
	}
}

// TestWhoIsTurnedAway: if the queue is full, and whatever came and went before, a
// newcomer takes the place of a waiter of an account that has the most of them, and two
// more than its own.
func TestWhoIsTurnedAway(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, seed)
			turnedAway, refused := 0, 0
			for range 600 {
				if c.random.IntN(5) == 0 {
					c.oneGivesUp()
					continue
				}
				before := c.waiters
				longest, full := slices.Max(before[:]), len(c.callers) == crowdSize
				newcomer, out := c.oneComes()
				switch {
				case !full:
					if len(out) > 0 {
						t.Fatalf("waiters %v: %d came, and %v were turned away, although there was room", before, newcomer, out)
					}
				case longest <= before[newcomer]+1:
					refused++
					if !slices.Equal(out, []int{newcomer}) || c.waiters != before {
						t.Fatalf("waiters %v: %d came, and %v were turned away, want the newcomer", before, newcomer, out)
					}
				default:
					turnedAway++
					if len(out) != 1 || before[out[0]] != longest || out[0] == newcomer {
						t.Fatalf("waiters %v: %d came, and %v were turned away, want one that had %d", before, newcomer, out, longest)
					}
				}
			}
			if turnedAway == 0 || refused == 0 {
				t.Errorf("%d were turned away, and %d newcomers refused: this shows nothing", turnedAway, refused)
			}
			c.end()
		})
	}
}

const crowdSize = 64 // how many may wait

// A crowd is callers of some accounts that wait for the one slot of a cache.
type crowd struct {
	t       *testing.T
	random  *rand.Rand
	cache   *tokencache.Cache[record]
	end     func()
	callers []caller
	waiters [14]int // how many callers of each account wait
	came    int
}

type caller struct {
	account int
	giveUp  context.CancelFunc
	result  <-chan result
}

func newCrowd(t *testing.T, seed uint64) *crowd {
	src, gate := newTestSource(), newGate()
	src.before = gate.pass
	g := tokencache.NewGroup(tokencache.GroupConfig{MaxQueue: crowdSize, MaxWait: time.Hour})
	c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 1, LoadTimeout: time.Hour})
	slot := begin(t, c, "x/x/x", "supersecret")
	return &crowd{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), cache: c,
		end: func() { close(gate.open); <-slot },
	}
}

// oneComes lets a caller come, and returns its account and those of the callers that were
// turned away.
func (c *crowd) oneComes() (account int, turnedAway []int) {
	account = min(c.random.IntN(len(c.waiters)), c.random.IntN(len(c.waiters)))
	ctx, cancel := context.WithCancel(c.t.Context())
	c.t.Cleanup(cancel)
	token := mustToken(c.t, fmt.Sprintf("a/%d/%d", account, c.came), "supersecret")
	c.came++
	c.callers = append(c.callers, caller{account, cancel, async(ctx, c.cache, token)})
	c.waiters[account]++
	synctest.Wait()
	c.callers = slices.DeleteFunc(c.callers, func(w caller) bool {
		select {
		case r := <-w.result:
			if !errors.Is(r.err, tokencache.ErrOverloaded) {
				c.t.Errorf("got %v", r.err)
			}
			turnedAway = append(turnedAway, w.account)
			c.waiters[w.account]--
			return true
		default:
			return false
		}
	})
	return account, turnedAway
}

// oneGivesUp lets one of the callers give up, if there is one.
func (c *crowd) oneGivesUp() {
	if len(c.callers) == 0 {
		return
	}
	i := c.random.IntN(len(c.callers))
	c.callers[i].giveUp()
	synctest.Wait()
	<-c.callers[i].result
	c.waiters[c.callers[i].account]--
	c.callers = slices.Delete(c.callers, i, i+1)
}

// TestColdStart: 4 000 clients send the tokens of one account, or of a thousand, after a
// restart, to a source that reads eight at a time. With fast hashes nobody is turned away.
func TestColdStart(t *testing.T) {
	for _, accounts := range []int{1, 1000} {
		synctest.Test(t, func(t *testing.T) {
			const tokens, clients, connections = 20_000, 4000, 8
			pool := make(chan struct{}, connections)
			src := newTestSource()
			src.fast = true
			src.before = func(context.Context, tokencache.TokenID) error {
				pool <- struct{}{}
				time.Sleep(time.Millisecond)
				<-pool
				return nil
			}
			all := make([]tokencache.Token, tokens)
			for i := range all {
				all[i] = mustToken(t, fmt.Sprintf("a/a%d/t%d", i%accounts, i), "supersecret")
				src.set(all[i])
			}
			rand.Shuffle(tokens, func(i, j int) { all[i], all[j] = all[j], all[i] })
			c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
			var next atomic.Int64
			var running sync.WaitGroup
			for range clients {
				running.Go(func() {
					for i := next.Add(1) - 1; i < tokens; i = next.Add(1) - 1 {
						if _, err := c.AuthenticateToken(t.Context(), all[i]); err != nil {
							t.Errorf("%d accounts: %v", accounts, err)
						}
					}
				})
			}
			running.Wait()
		})
	}
}

// TestTurnedAwayTogether: callers who are turned away at one instant are not told to come
// back at one, not even in whole seconds.
func TestTurnedAwayTogether(t *testing.T) {
	for _, longest := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			const callers = 100
			src, gate := newTestSource(), newGate()
			src.before = gate.pass
			g := tokencache.NewGroup(tokencache.GroupConfig{MaxQueue: 1, MaxWait: longest})
			c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 1})
			reads, waits := begin(t, c, "a/a/reads", "supersecret"), begin(t, c, "b/b/waits", "supersecret")
			seconds, times := make(map[int]bool), make(map[time.Duration]bool)
			for i := range callers {
				_, err := c.AuthenticateToken(t.Context(), mustToken(t, fmt.Sprintf("c/c%d/late", i), "supersecret"))
				noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err)
				if !ok || noAnswer.Reason != tokencache.ReasonOverloaded || noAnswer.RetryAfter < time.Second || noAnswer.RetryAfter > 3*time.Second {
					t.Fatalf("got %v, want 1 to 3 seconds", err)
				}
				seconds[int((noAnswer.RetryAfter+time.Second-1)/time.Second)] = true
				times[noAnswer.RetryAfter] = true
			}
			if len(seconds) < 2 || len(times) < callers/2 {
				t.Errorf("%d callers got %d different times, in %d whole seconds", callers, len(times), len(seconds))
			}
			close(gate.open)
			<-reads
			<-waits
		})
	}
}
