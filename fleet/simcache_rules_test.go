package fleet_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/tokencache"
)

// TestSimCaches: the caches of the simulation keep the rules of the core's, which the
// promise needs. The histories seldom show that they break one: a node that lapses
// clears, so that little is left to be seen.
func TestSimCaches(t *testing.T) {
	k := cacheKey{"file", "t0"}
	read := func(took time.Duration, version int) func(context.Context) (verdict, error) {
		return func(context.Context) (verdict, error) {
			time.Sleep(took)
			return verdict{version: version}, nil
		}
	}
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, c *simCaches)
	}{
		{"no hit past the lease", func(t *testing.T, c *simCaches) {
			c.authenticate(t.Context(), k, read(0, 1))
			time.Sleep(simLease)
			if v, _, err := c.authenticate(t.Context(), k, read(0, 2)); !errors.Is(err, fleet.ErrNotServing) {
				t.Errorf("got %+v, %v", v, err)
			}
		}},
		{"no load past the lease", func(t *testing.T, c *simCaches) {
			time.Sleep(simLease)
			if v, _, err := c.authenticate(t.Context(), k, read(0, 2)); !errors.Is(err, fleet.ErrNotServing) {
				t.Errorf("got %+v, %v", v, err)
			}
		}},
		{"no joining of a load past the lease", func(t *testing.T, c *simCaches) {
			go c.authenticate(t.Context(), k, read(2*simLease, 1))
			time.Sleep(simLease)
			if v, _, err := c.authenticate(t.Context(), k, read(0, 2)); !errors.Is(err, fleet.ErrNotServing) {
				t.Errorf("got %+v, %v", v, err)
			}
		}},
		{"a load that runs while its key is evicted is not joined, and not stored", func(t *testing.T, c *simCaches) {
			go c.authenticate(t.Context(), k, read(2*time.Second, 1))
			time.Sleep(time.Second)
			sel, err := account.Select("t0")
			if err != nil {
				t.Fatal(err)
			}
			c.Evict(t.Context(), tokencache.CauseNode, sel)
			if v, _, err := c.authenticate(t.Context(), k, read(time.Millisecond, 2)); v.version != 2 || err != nil {
				t.Errorf("at once: got %+v, %v", v, err)
			}
			time.Sleep(2 * time.Second)
			if v, hit, err := c.authenticate(t.Context(), k, read(0, 3)); v.version != 2 || !hit || err != nil {
				t.Errorf("once the load has ended: got %+v, hit %v, %v", v, hit, err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{log: fleettest.NewLog(), begin: time.Now(), ctx: t.Context()}
				s := &slot{w: w, clock: &simClock{begin: w.begin, rate: 1}}
				c := newSimCaches(w, s)
				c.Lease(time.Now().Add(simLease))
				tt.run(t, c)
				w.running.Wait()
			})
		})
	}
}
