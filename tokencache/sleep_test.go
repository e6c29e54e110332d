package tokencache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/internal/suspend"
	"github.com/svctoken/svctoken/tokencache"
)

// TestSleepCountsOnce: what the machine has slept counts within a second of waking, and
// once, whether the wall clock tells of it, the time since boot, or both.
func TestSleepCountsOnce(t *testing.T) {
	const slept = 13 * time.Hour
	for _, test := range []struct {
		name       string
		wall, boot time.Duration
	}{
		{"by the wall clock", slept, 0},
		{"by the time since boot", 0, slept},
		{"by both", slept, slept},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				defer suspend.Pretend(0, 0)
				token := mustToken(t, "a/b/c", "supersecret")
				src := newTestSource(token)
				c := solo(t, src, tokencache.Config{TTL: 24 * time.Hour, Jitter: -1})
				check(t, c, token, "ok")
				for i, wantLoads := range []int{1, 2, 2, 3} { // after 13, 26, 39 and 52 hours
					suspend.Pretend(time.Duration(i+1)*test.wall, time.Duration(i+1)*test.boot)
					time.Sleep(time.Second + time.Millisecond)
					check(t, c, token, "ok")
					if got := src.loadsOf(token.ID()); got != wantLoads {
						t.Errorf("after %d times %v: %d loads, want %d", i+1, slept, got, wantLoads)
					}
				}
			})
		})
	}
}

// TestSmallSteps: a wall clock that runs ahead in steps too small to be taken for a sleep
// counts as soon as they add up to one.
func TestSmallSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer suspend.Pretend(0, 0)
		const step, steps = 15 * time.Millisecond, 3000 // 45 seconds
		loads := make(map[string]int)
		src := asked(func(_ context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
			loads[id.Name]++
			return tokencache.Answer[record]{Held: true, Fast: true, Expires: time.Now().Add(time.Hour), Verify: func(tokencache.Secret) bool { return true }}, nil
		})
		token, other := mustToken(t, "a/b/c", "supersecret"), mustToken(t, "a/b/other", "supersecret")
		c := solo(t, src, tokencache.Config{TTL: 40 * time.Second, Jitter: -1})
		check(t, c, token, "ok")
		for i := range steps {
			suspend.Pretend(time.Duration(i+1)*step, 0)
			check(t, c, other, "ok") // its load reads when it expires
			c.Evict(t.Context(), tokencache.CauseAsked, named(t, fleetOf(other), "other"))
		}
		check(t, c, token, "ok")
		if loads["c"] != 2 || loads["other"] != steps {
			t.Errorf("got %v, want 2 loads of c: 45 seconds have passed", loads)
		}
	})
}
