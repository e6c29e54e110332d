package tokencache_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestRetryAfterIsAtMostMaxWait: nothing waits for longer, however many reads or hashes
// wait and however long each has taken.
func TestRetryAfterIsAtMostMaxWait(t *testing.T) {
	const callers = 400
	for _, what := range []string{"reads", "hashes"} {
		for _, maxWait := range []time.Duration{0, 300 * time.Millisecond, 3 * time.Second, time.Minute} {
			t.Run(fmt.Sprint(what, maxWait), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					src := newTestSource()
					if what == "reads" {
						src.before = func(context.Context, tokencache.TokenID) error { time.Sleep(40 * time.Second); return nil }
					} else {
						src.verify = func(tokencache.Secret) bool { time.Sleep(40 * time.Second); return false }
					}
					g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxQueue: callers / 4, MaxWait: maxWait})
					c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 1, LoadTimeout: time.Hour})
					if n := turnedAway(t, src, c, cmp.Or(maxWait, 10*time.Second)); n < callers/2 {
						t.Errorf("%d of %d callers were turned away", n, callers)
					}
				})
			})
		}
	}
}

// turnedAway lets 400 callers come in four waves, and returns how many were turned away,
// each with a time to try again that is at most the longest wait.
func turnedAway(t *testing.T, src *testSource, c *tokencache.Cache[record], longest time.Duration) (n int) {
	t.Helper()
	var mu sync.Mutex // guards n
	var wg sync.WaitGroup
	for wave := range 4 {
		for i := range 100 {
			token := mustToken(t, fmt.Sprintf("a%d/b/w%d", i, wave), "supersecret")
			src.set(token)
			wg.Go(func() {
				_, err := c.AuthenticateToken(context.Background(), token)
				e, ok := errors.AsType[*tokencache.NoAnswerError](err)
				if !ok || e.Reason != tokencache.ReasonOverloaded {
					return
				}
				mu.Lock()
				defer mu.Unlock()
				n++
				if e.RetryAfter <= 0 || e.RetryAfter > longest {
					t.Errorf("try again after %v, although nothing waits longer than %v", e.RetryAfter, longest)
				}
			})
		}
		time.Sleep(50 * time.Second)
	}
	wg.Wait()
	return n
}
