package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

// gate is a hook for testSource that holds loads until it is opened.
type gate struct{ open chan struct{} }

func newGate() gate { return gate{make(chan struct{})} }

func (g gate) pass(ctx context.Context, _ tokencache.TokenID) error {
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// async authenticates in the background; the result can be received once.
func async(ctx context.Context, c *tokencache.Cache[record], token tokencache.Token) <-chan result {
	ch := make(chan result, 1)
	go func() {
		v, err := c.AuthenticateToken(ctx, token)
		ch <- result{v.Record.Version, err}
	}()
	return ch
}

type result struct {
	version int
	err     error
}

func TestOneLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers = 1000
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src, gate := newTestSource(token), newGate()
		src.before = gate.pass
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
		var results []<-chan result
		for range callers {
			results = append(results, async(t.Context(), c, token))
		}
		synctest.Wait()
		close(gate.open)
		for _, ch := range results {
			if r := <-ch; r.err != nil || r.version != 1 {
				t.Errorf("got %+v", r)
			}
		}
		if got := src.loadsOf(token.ID()); got != 1 {
			t.Errorf("got %d source reads, want 1", got)
		}
		if got := c.Stats(); got.Misses != callers || got.Loads != 1 {
			t.Errorf("got %+v, want %d misses and 1 load", got, callers)
		}
	})
}

func TestCallerThatGivesUpDisturbsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src, gate := newTestSource(token), newGate()
		src.before = gate.pass
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})

		ctx, cancel := context.WithCancel(t.Context())
		leader := async(ctx, c, token)
		synctest.Wait()
		follower := async(t.Context(), c, token)
		synctest.Wait()
		cancel()
		if r := <-leader; !errors.Is(r.err, context.Canceled) || errors.Is(r.err, tokencache.ErrRefused) {
			t.Errorf("the leader got %v, want its own cancellation", r.err)
		}
		close(gate.open)
		if r := <-follower; r.err != nil {
			t.Errorf("the follower got %v", r.err)
		}
		if got := src.loadsOf(token.ID()); got != 1 {
			t.Errorf("got %d source reads, want 1", got)
		}
		// A cancelled context does not matter to a hit, and starts no load.
		if _, err := c.AuthenticateToken(ctx, token); err != nil {
			t.Errorf("a hit with a cancelled context: %v", err)
		}
		c.Clear(context.Background(), tokencache.CauseAsked)
		if _, err := c.AuthenticateToken(ctx, token); !errors.Is(err, context.Canceled) {
			t.Errorf("a miss with a cancelled context: %v", err)
		}
		if got := src.loadsOf(token.ID()); got != 1 {
			t.Errorf("got %d source reads, want 1", got)
		}
	})
}

type ctxKey struct{}

// TestLoadContext: the context that a source gets has its caller's values and the
// load's end, also for contexts derived from it, and shows no secret.
func TestLoadContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := newTestSource(token)
		var load, child context.Context
		hang, ended := true, make(chan bool, 2)
		src.before = func(ctx context.Context, _ tokencache.TokenID) error {
			load = ctx
			var cancel context.CancelFunc
			child, cancel = context.WithTimeout(context.WithValue(ctx, ctxKey{}, "child"), time.Hour)
			defer cancel()
			if hang {
				<-child.Done()
				err := context.Cause(child)
				ended <- true
				return err
			}
			return nil
		}
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{LoadTimeout: time.Second})
		caller, cancel := context.WithCancelCause(context.WithValue(t.Context(), ctxKey{}, "trace"))

		start := time.Now()
		_, err := c.AuthenticateToken(caller, token)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "longer than 1s") || time.Since(start) != time.Second {
			t.Errorf("after %v got %v, want the load's deadline", time.Since(start), err)
		}
		<-ended
		if took := time.Since(start); child.Err() != context.DeadlineExceeded || load.Err() != context.DeadlineExceeded || took > time.Second+time.Millisecond {
			t.Errorf("after %v got %v and %v, want the load's deadline", took, load.Err(), child.Err())
		}

		hang = false
		start = time.Now()
		if _, err := c.AuthenticateToken(caller, token); err != nil {
			t.Fatal(err)
		}
		cancel(errors.New("the caller's cause"))
		if deadline, ok := load.Deadline(); load.Value(ctxKey{}) != "trace" || !ok || !deadline.Equal(start.Add(time.Second)) {
			t.Errorf("the load's context has value %v, deadline %v", load.Value(ctxKey{}), deadline)
		}
		if <-load.Done(); load.Err() != context.Canceled || context.Cause(load) != context.Canceled {
			t.Errorf("after the load got %v, %v", load.Err(), context.Cause(load))
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			if text := fmt.Sprintf(verb, load); text != `a load of the cache "test"` {
				t.Errorf("%s shows %s", verb, text)
			}
		}
	})
}

// TestOverdueOneByOne: each load has its own time, whichever ends first.
func TestOverdueOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		defer g.Close()
		c := newCache(t, g, "test", src, tokencache.Config{LoadTimeout: 10 * time.Second})
		src.before = func(ctx context.Context, id tokencache.TokenID) error {
			if id.Name == "quick" {
				time.Sleep(time.Second)
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		waited := make([]time.Duration, 4)
		var wg sync.WaitGroup
		for i, name := range []string{"first", "quick", "second", "third"} {
			wg.Go(func() {
				start := time.Now()
				c.AuthenticateToken(t.Context(), mustToken(t, "elastic/fleet-server/"+name, "supersecret"))
				waited[i] = time.Since(start)
			})
			time.Sleep(3 * time.Second)
		}
		wg.Wait()
		want := []time.Duration{10 * time.Second, time.Second, 10 * time.Second, 10 * time.Second}
		if diff := cmp.Diff(want, waited); diff != "" {
			t.Errorf("waited (-want +got):\n%s", diff)
		}
		synctest.Wait() // callers learn that a load is overdue before its source returns
		if got := c.Stats(); got.Loading != 0 || got.Errors != 3 || got.Refusals != 1 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestPanicHarmsOnlyItsCallers(t *testing.T) {
	for _, test := range []struct {
		name, message string
		lookup        func()
		verify        func()
	}{
		{"runtime error", "index out of range", func() { var s []int; _ = s[len(s)] }, nil},
		{"secret", "the source panicked with a string", func() { panic("supersecret") }, nil},
		{"goexit", "the source ended its goroutine", func() { runtime.Goexit() }, nil},
		{"verifier", "the source panicked with a string", nil, func() { panic("supersecret") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
			src := newTestSource(token)
			if test.lookup != nil {
				src.before = func(context.Context, tokencache.TokenID) error { test.lookup(); return nil }
			} else {
				src.verify = func(tokencache.Secret) bool { test.verify(); return true }
			}
			g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1})
			c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 1})
			for range 3 { // no slot is lost
				_, err := c.AuthenticateToken(t.Context(), token)
				if err == nil || !strings.Contains(err.Error(), test.message) || strings.Contains(err.Error(), "supersecret") {
					t.Fatalf("got %v, want it to say %q", err, test.message)
				}
			}
			src.before, src.verify = nil, nil
			check(t, c, token, "ok")
		})
	}
}

func TestLoadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src, release := newTestSource(token), make(chan struct{})
		var hung atomic.Bool
		src.before = func(context.Context, tokencache.TokenID) error {
			if !hung.Swap(true) {
				<-release // ignores its context
			}
			return nil
		}
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{LoadTimeout: time.Second})

		start := time.Now()
		_, err := c.AuthenticateToken(t.Context(), token)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "longer than 1s") {
			t.Errorf("got %v, want the load's deadline", err)
		}
		if got := time.Since(start); got != time.Second {
			t.Errorf("waited %v, want 1s", got)
		}
		// The token is not pinned: a later caller gets a load of its own, though the
		// first still hangs, and the first's late result is not stored.
		check(t, c, token, "ok")
		src.set(token)
		close(release)
		synctest.Wait()
		if v, err := c.AuthenticateToken(t.Context(), token); err != nil || v.Record.Version != 1 {
			t.Errorf("got %+v, %v, want what the second load read", v, err)
		}
		if got := c.Stats(); got.Discarded != 1 || got.Loads != 2 {
			t.Errorf("got %+v, want 2 loads, 1 discarded", got)
		}
	})
}

func TestMaxLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		var running, most atomic.Int32
		gate := newGate()
		src.before = func(ctx context.Context, id tokencache.TokenID) error {
			most.Store(max(most.Load(), running.Add(1)))
			defer running.Add(-1)
			return gate.pass(ctx, id)
		}
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{MaxLoads: 3})
		var results []<-chan result
		for i := range 20 {
			token := mustToken(t, fmt.Sprintf("elastic/fleet-server/t%d", i), "supersecret")
			src.set(token)
			results = append(results, async(t.Context(), c, token), async(t.Context(), c, token))
		}
		synctest.Wait()
		// One that waits for its turn may give up.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.AuthenticateToken(ctx, mustToken(t, "a/b/c", "supersecret")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		if got := c.Stats().Loading; got != 3 {
			t.Errorf("got %d loads running, want 3", got)
		}
		close(gate.open)
		for _, ch := range results {
			if r := <-ch; r.err != nil {
				t.Error(r.err)
			}
		}
		if got := most.Load(); got > 3 {
			t.Errorf("got %d loads at once, want at most 3", got)
		}
		if got := c.Stats().Loads; got != 20 {
			t.Errorf("got %d loads, want 20", got)
		}
	})
}

func TestCloseReleasesWhoWaitsForALoadToStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, gate := newTestSource(), newGate()
		src.before = gate.pass
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{MaxLoads: 1})
		var results []<-chan result
		for i := range 3 {
			results = append(results, async(context.Background(), c, mustToken(t, fmt.Sprintf("a/b/t%d", i), "supersecret")))
		}
		synctest.Wait()
		c.Close()
		for _, ch := range results {
			if r := <-ch; !errors.Is(r.err, tokencache.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", r.err)
			}
		}
	})
}

// TestHashingBound checks that the bound is the group's, over both its caches,
// and that a source which hangs takes none of it.
func TestHashingBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		hashing, most := 0, 0
		verify := func(tokencache.Secret) bool {
			mu.Lock()
			hashing++
			most = max(most, hashing)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			hashing--
			mu.Unlock()
			return true
		}
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 2})
		hung := mustToken(t, "a/b/hung", "supersecret")
		var results []<-chan result
		for _, name := range []string{"file", "index"} {
			src := newTestSource()
			src.verify = verify
			src.before = func(ctx context.Context, id tokencache.TokenID) error {
				if id == hung.ID() {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}
			c := newCache(t, g, name, src, tokencache.Config{})
			async(t.Context(), c, hung)
			for i := range 4 {
				token := mustToken(t, fmt.Sprintf("a/b/t%d", i), "supersecret")
				src.set(token)
				results = append(results, async(t.Context(), c, token))
			}
		}
		start := time.Now()
		for _, ch := range results {
			if r := <-ch; r.err != nil {
				t.Error(r.err)
			}
		}
		if most != 2 {
			t.Errorf("got %d hashes at once, want 2", most)
		}
		if got := time.Since(start); got != 4*time.Second {
			t.Errorf("8 hashes of a second, 2 at once, took %v", got)
		}
	})
}

// TestWrongSecretsDoNotQueueTheRight is about the flight's key: by the token's
// name alone, the right caller would wait for the wrong one's load.
func TestWrongSecretsDoNotQueueTheRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		right := mustToken(t, "a/b/c", "supersecret")
		wrong := mustToken(t, "a/b/c", "wrong-secret")
		src, gate := newTestSource(right), newGate()
		src.after = func(ctx context.Context, id tokencache.TokenID) error {
			if src.loadsOf(id) == 1 {
				return gate.pass(ctx, id) // the wrong one's
			}
			return nil
		}
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
		refused := async(t.Context(), c, wrong)
		synctest.Wait()
		check(t, c, right, "ok")
		close(gate.open)
		if r := <-refused; !errors.Is(r.err, tokencache.ErrRefused) {
			t.Errorf("got %v, want a refusal", r.err)
		}
		check(t, c, right, "ok")
		if got := c.Stats(); got.Hits != 1 || got.Entries != 1 {
			t.Errorf("got %+v, want the right token remembered", got)
		}
	})
}

// TestTurnAtTheLastMoment: the time of a load that reads and that of one which
// waits for its slot are up at the same instant. The first gives its slot to the
// second, which then has its own time.
func TestTurnAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung, good := mustToken(t, "a/b/hung", "supersecret"), mustToken(t, "a/b/good", "supersecret")
		src := newTestSource(hung, good)
		src.before = func(ctx context.Context, id tokencache.TokenID) error {
			if id == hung.ID() {
				<-ctx.Done()
			} else {
				time.Sleep(5 * time.Second)
			}
			return ctx.Err()
		}
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxWait: 10 * time.Second})
		c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 1, LoadTimeout: 10 * time.Second})
		first := async(t.Context(), c, hung)
		synctest.Wait()
		second := async(t.Context(), c, good)
		if r := <-first; !errors.Is(r.err, context.DeadlineExceeded) {
			t.Errorf("the first got %v, want its source's timeout", r.err)
		}
		if r := <-second; r.err != nil {
			t.Errorf("the second got %v", r.err)
		}
	})
}

// TestHideNames: each refusal takes a read and a hash, whatever it is for, once the
// source has handed out a hash.
func TestHideNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(secret tokencache.Secret) bool { time.Sleep(time.Second); return secret.Reveal() == "supersecret" }
		answers := map[string]tokencache.Answer[record]{
			"good":     {Held: true, Verify: slow},
			"disabled": {Held: true, Disabled: true, Verify: slow},
			"expired":  {Held: true, Expires: time.Unix(1, 0), Verify: slow},
		}
		reads := 0
		src := silent{asked(func(_ context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
			reads++
			return answers[id.Name], nil
		})}
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{HideNames: true})
		try := func(name, secret string, want tokencache.Reason, wantReads int, wantTime time.Duration) {
			t.Helper()
			start, before := time.Now(), reads
			_, err := c.Authenticate(t.Context(), header(mustToken(t, "a/a/"+name, secret)))
			if got, took := reads-before, time.Since(start); reasonOf(err) != want || got != wantReads || took != wantTime {
				t.Errorf("%s, %s: got %v after %v and %d reads, want %v, %v and %d", name, secret, err, took, got, want, wantTime, wantReads)
			}
		}
		try("nobody", "supersecret", tokencache.ReasonUnknownToken, 1, 0) // there is no hash yet
		try("good", "supersecret", 0, 1, time.Second)
		for range 2 {
			try("good", "supersecret", 0, 0, 0)
			try("good", "wrong-secret", tokencache.ReasonWrongSecret, 1, time.Second)
			try("nobody", "supersecret", tokencache.ReasonUnknownToken, 1, time.Second)
			try("disabled", "supersecret", tokencache.ReasonDisabled, 1, time.Second)
			try("expired", "supersecret", tokencache.ReasonExpired, 1, time.Second)
		}
	})
}

// A silent source says at once that it holds nothing.
type silent struct{ asked }

func (silent) MayHold(tokencache.TokenID) bool { return false }

// TestStaleNeedsALease: the lease lapses while a load runs whose failure would have a
// stale entry answer.
func TestStaleNeedsALease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		src := newTestSource(token)
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		c := newCache(t, g, "test", src, tokencache.Config{TTL: time.Minute, ServeStale: time.Hour})
		check(t, c, token, "ok")
		src.before = func(context.Context, tokencache.TokenID) error { time.Sleep(2 * time.Second); return errOutage }
		time.Sleep(time.Minute)
		check(t, c, token, "ok") // stale
		g.Lease(time.Now().Add(time.Second))
		check(t, c, token, "error")
	})
}

// TestStaleEndsWithItsToken: a load of before an eviction fails when what was loaded
// after the eviction has expired by itself, and is still there.
func TestStaleEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		late := newGate()
		first := true
		src := asked(func(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
			if first {
				first = false
				late.pass(ctx, id)
				return tokencache.Answer[record]{}, errOutage
			}
			return tokencache.Answer[record]{Held: true, Expires: time.Now().Add(time.Second / 2), Verify: token.Secret().Equal}, nil
		})
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{ServeStale: time.Hour})
		old := begin(t, c, token.String(), "supersecret")
		c.Evict(t.Context(), tokencache.CauseAsked, named(t, fleet, "token1"))
		check(t, c, token, "ok")
		time.Sleep(time.Second / 2)
		if got := c.Stats().Entries; got != 1 {
			t.Fatalf("%d entries are left, so the test shows nothing", got)
		}
		close(late.open)
		expect(t, old, errOutage)
	})
}
