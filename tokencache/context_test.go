package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestGoroutinesAreTheLoads: even if the source derives contexts.
func TestGoroutinesAreTheLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const loads = 50
		src, gate := newTestSource(), newGate()
		src.before = func(ctx context.Context, id tokencache.TokenID) error {
			for range 5 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithCancel(context.WithValue(ctx, ctxKey{}, "of the source"))
				defer cancel()
			}
			return gate.pass(ctx, id)
		}
		c := solo(t, src, tokencache.Config{MaxLoads: 1000})
		before := runtime.NumGoroutine()
		for i := range loads {
			async(t.Context(), c, mustToken(t, fmt.Sprintf("a/a/%d", i), "supersecret"))
		}
		synctest.Wait()
		if got := runtime.NumGoroutine() - before; got > 2*loads+loads/2 {
			t.Errorf("%d goroutines for %d callers and as many loads", got, loads)
		}
		close(gate.open)
	})
}

// A reentrant context asks the group.
type reentrant struct {
	context.Context
	group *tokencache.Group
}

func (r reentrant) Err() error { r.group.Stats(); return r.Context.Err() }

func (r reentrant) Done() <-chan struct{} { r.group.Stats(); return r.Context.Done() }

func (r reentrant) Value(key any) any { r.group.Stats(); return r.Context.Value(key) }

func TestContextsOfAllKinds(t *testing.T) {
	token := mustToken(t, "a/a/a", "supersecret")
	g := tokencache.NewGroup(tokencache.GroupConfig{KnownAccount: func(a tokencache.Account) bool { return a.Namespace == "a" }})
	c := newCache(t, g, "test", newTestSource(token), tokencache.Config{MaxLoads: 1})
	for _, token := range []tokencache.Token{token, token, mustToken(t, "strange/a/a", "supersecret")} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, "context is nil") {
					t.Errorf("a nil context: got the panic %q", got)
				}
			}()
			var none context.Context
			c.AuthenticateToken(none, token)
		}()
	}
	if _, err := c.AuthenticateToken(reentrant{t.Context(), g}, token); err != nil {
		t.Error(err)
	}
	if got := c.Stats(); got.Loads != 1 || got.Misses != 1 {
		t.Errorf("got %+v, want that a nil context has taken nothing", got)
	}
}

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
		c := solo(t, src, tokencache.Config{LoadTimeout: time.Second})
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

// TestOneContext: the source looks at its context in two goroutines at once. Both have to
// wait for the group's mutex before they make it, and it is made once: another would end with
// its deadline alone.
func TestOneContext(t *testing.T) {
	token := mustToken(t, "a/a/a", "supersecret")
	src := newTestSource(token)
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c := newCache(t, g, "test", src, tokencache.Config{})
	src.before = func(ctx context.Context, _ tokencache.TokenID) error {
		channels := make(chan (<-chan struct{}), 2)
		tokencache.WithMutexHeld(g, func() {
			for range 2 {
				go func() { channels <- ctx.Done() }()
			}
			stacks := make([]byte, 1<<20)
			for strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "(*loadContext).standard(") < 2 {
				runtime.Gosched()
			}
		})
		if one, other := <-channels, <-channels; one != other {
			t.Error("the load has two contexts")
		}
		return nil
	}
	check(t, c, token, "ok")
}
