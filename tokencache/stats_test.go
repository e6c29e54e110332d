package tokencache_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

// TestGroupStatsAddUp: each authentication ends in one of the group's counters.
func TestGroupStatsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, gone := mustToken(t, "elastic/fleet-server/good", "supersecret"), mustToken(t, "elastic/fleet-server/gone", "supersecret")
		src := newTestSource(good)
		g := tokencache.NewGroup(tokencache.GroupConfig{MaxQueue: 1, KnownAccount: func(a tokencache.Account) bool { return a.Namespace != "strange" }})
		c := newCache(t, g, "test", src, tokencache.Config{MaxLoads: 1, ServeStale: time.Hour, MaxBackoff: -1})
		var want tokencache.GroupStats
		try := func(counter *uint64, authorization string) {
			t.Helper()
			g.Authenticate(t.Context(), authorization)
			*counter++
			if got := g.Stats(); got != want {
				t.Fatalf("got %+v, want %+v", got, want)
			}
		}
		for range 2 {
			try(&want.Confirmed, header(good))                                                      // a load, a hit
			try(&want.Refused, header(mustToken(t, good.String(), "wrong-secret")))                 // from memory
			try(&want.Refused, header(gone))                                                        // by the source, from memory
			try(&want.Refused, header(mustToken(t, "strange/a/a", "supersecret")))                  // unknown account
			try(&want.Refused, "Bearer "+encode("\x00\x01\x00\x01elastic/fleet-server/good:short")) // too short
			try(&want.NotServiceTokens, "Basic x")                                                  // another scheme
			try(&want.NotServiceTokens, "Bearer x")                                                 // another bearer
		}
		src.fail()
		other := mustToken(t, "elastic/fleet-server/other", "supersecret")
		try(&want.NoAnswer, header(other))
		time.Sleep(20 * time.Minute)
		try(&want.Confirmed, header(good)) // stale
		gate := newGate()
		src.before = gate.pass
		results := []<-chan result{begin(t, c, "a/a/1", "supersecret"), begin(t, c, "a/a/2", "supersecret")}
		try(&want.Overloaded, header(other))
		close(gate.open)
		for _, ch := range results {
			expect(t, ch, tokencache.ErrRefused)
			want.Refused++
		}
		c.Close()
		try(&want.Closed, header(good))
		g.Close()
		try(&want.Closed, header(good))
	})
}

// TestOutcomesAddUp: every authentication is counted once.
func TestOutcomesAddUp(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	src := newTestSource(token)
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c := newCache(t, g, "test", src, tokencache.Config{})
	send := func(authorization string) { g.Authenticate(t.Context(), authorization) }
	send(header(token))
	send(header(token))
	send("Basic x")
	send(header(mustToken(t, "elastic/fleet-server/token1", "wrong-secret")))
	send(header(mustToken(t, "elastic/fleet-server/nobody", "supersecret")))
	send(header(mustToken(t, "elastic/fleet-server/nobody", "supersecret")))
	src.fail()
	send(header(mustToken(t, "elastic/fleet-server/other", "supersecret")))
	c.Close()
	send(header(token))
	want := tokencache.GroupStats{Confirmed: 2, Refused: 3, NotServiceTokens: 1, NoAnswer: 1, Closed: 1}
	if diff := cmp.Diff(want, g.Stats()); diff != "" {
		t.Errorf("group (-want +got):\n%s", diff)
	}
	for name, st := range g.Caches() {
		want := tokencache.Stats{Hits: 1, Mismatches: 1, Absent: 1, Misses: 3, Loads: 3, Refusals: 1, Errors: 1, Stored: 1, Evicted: 1}
		if diff := cmp.Diff(want, st); name != "test" || diff != "" {
			t.Errorf("cache %q (-want +got):\n%s", name, diff)
		}
	}
}

// TestLoadsAddUp: each load that has begun is stored, refused, an error or discarded,
// even if it is stopped while it waits for its turn to hash.
func TestLoadsAddUp(t *testing.T) {
	for _, test := range []struct {
		name  string
		group tokencache.GroupConfig
		stop  func(*tokencache.Cache[record], context.CancelFunc)
		want  tokencache.Stats
	}{
		{"it waits too long", tokencache.GroupConfig{MaxWait: time.Millisecond}, nil, tokencache.Stats{Loads: 2, Misses: 2, Stored: 1, Errors: 1, Entries: 1}},
		{"nobody waits", tokencache.GroupConfig{}, func(_ *tokencache.Cache[record], cancel context.CancelFunc) { cancel() }, tokencache.Stats{Loads: 2, Misses: 2, Stored: 1, Discarded: 1, Entries: 1}},
		{"the cache is closed", tokencache.GroupConfig{}, func(c *tokencache.Cache[record], _ context.CancelFunc) { c.Close() }, tokencache.Stats{Loads: 2, Misses: 2, Discarded: 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.group.MaxHashing = 1
				c := newCache(t, tokencache.NewGroup(test.group), "test", newSlowSource(t, "a/a/0", "a/a/1"), tokencache.Config{})
				begin(t, c, "a/a/0", "supersecret")
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				async(ctx, c, mustToken(t, "a/a/1", "supersecret"))
				synctest.Wait()
				if test.stop != nil {
					test.stop(c, cancel)
				}
				time.Sleep(time.Minute)
				if diff := statsDiff(c.Stats(), test.want); diff != "" {
					t.Errorf("stats (-want +got):\n%s", diff)
				}
			})
		})
	}
}
