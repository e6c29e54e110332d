package tokencache_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

func TestMaxEntriesKeepsWhatIsUsed(t *testing.T) {
	src := newTestSource()
	c := solo(t, src, tokencache.Config{MaxEntries: 10})
	var tokens []tokencache.Token
	for i := range 100 {
		token := mustToken(t, fmt.Sprintf("elastic/account%d/token", i), "supersecret")
		tokens = append(tokens, token)
		src.set(token)
	}
	hot := tokens[0]
	for _, token := range tokens {
		check(t, c, token, "ok")
		check(t, c, hot, "ok")
	}
	if got := src.loadsOf(hot.ID()); got != 1 {
		t.Errorf("the token in use was loaded %d times, want 1", got)
	}
	if got := c.Stats(); got.Entries != 10 || got.Displaced != 90 {
		t.Errorf("got %+v, want 10 entries, 90 displaced", got)
	}
	// Wrong secrets and unknown tokens displace nothing.
	before := c.Stats()
	for i := range 100 {
		check(t, c, mustToken(t, fmt.Sprintf("elastic/account%d/token", i), "wrong-secret"), "refused")
		check(t, c, mustToken(t, fmt.Sprintf("elastic/unknown%d/token", i), "supersecret"), "refused")
	}
	if got := c.Stats(); got.Entries != before.Entries || got.Displaced != before.Displaced {
		t.Errorf("refusals displaced entries: got %+v, want as before, %+v", got, before)
	}
}

// TestAllUsed fills a cache whose entries were all used, which must neither spin
// nor refuse to make room.
func TestAllUsed(t *testing.T) {
	const most = 500
	src := newTestSource()
	c := solo(t, src, tokencache.Config{MaxEntries: most})
	for i := range 2 * most {
		token := mustToken(t, fmt.Sprintf("elastic/fleet-server/t%d", i), "supersecret")
		src.set(token)
		check(t, c, token, "ok")
		check(t, c, token, "ok")
	}
	if got := c.Stats().Entries; got != most {
		t.Errorf("got %d entries, want %d", got, most)
	}
}

// TestRoomAfterEvictions: what is evicted at the beginning, in the middle and at the end
// of what is remembered leaves room, and the rest makes room in its turn.
func TestRoomAfterEvictions(t *testing.T) {
	const most = 10
	for _, used := range []bool{false, true} { // which come to the main queue
		for evicted := range most {
			src := newTestSource()
			c := solo(t, src, tokencache.Config{MaxEntries: most})
			load := func(from, to int) {
				for i := from; i < to; i++ {
					token := mustToken(t, fmt.Sprintf("a/a/t%d", i), "supersecret")
					src.set(token)
					check(t, c, token, "ok")
					if used {
						check(t, c, token, "ok")
					}
				}
			}
			load(0, most+1) // one of which is displaced
			c.Evict(t.Context(), tokencache.CauseAsked, named(t, tokencache.Account{Namespace: "a", Service: "a"}, fmt.Sprintf("t%d", 1+evicted)))
			if got := c.Stats(); got.Entries != most-1 {
				t.Fatalf("got %+v, want that t%d has gone", got, 1+evicted)
			}
			load(100, 101)
			if got := c.Stats(); got.Entries != most || got.Displaced != 1 {
				t.Errorf("t%d: got %+v, want %d entries, and none displaced for the last", 1+evicted, got, most)
			}
			load(200, 200+3*most)
			if got := c.Stats(); got.Entries != most || got.Displaced != 1+3*most {
				t.Errorf("t%d: got %+v, want %d entries, and one displaced for each of the last", 1+evicted, got, most)
			}
		}
	}
}

// slowPolicy is S3-FIFO as the paper has it, on slices.
func slowPolicy(capacity int, keys []uint32) (hits []bool) {
	var probation, main []uint32
	used, ghosts := map[uint32]bool{}, map[uint32]bool{}
	for _, key := range keys {
		hit := slices.Contains(probation, key) || slices.Contains(main, key)
		hits = append(hits, hit)
		if hit {
			used[key] = true
			continue
		}
		for len(probation)+len(main) == capacity {
			from := &main
			if len(probation) > max(1, capacity/100) || len(main) == 0 {
				from = &probation
			}
			first := (*from)[0]
			*from = (*from)[1:]
			switch {
			case used[first]:
				used[first] = false
				main = append(main, first)
			case from == &probation:
				ghosts[first] = true
			}
		}
		if ghosts[key] {
			main = append(main, key)
		} else {
			probation = append(probation, key)
		}
	}
	return hits
}

func TestPolicyAgainstItsTwin(t *testing.T) {
	for _, capacity := range []int{1, 2, 3, 10, 40, 60, 300} {
		random := rand.New(rand.NewPCG(1, uint64(capacity)))
		most := 63 // so few that no ghost takes another's place
		if capacity > 64 {
			most = 511
		}
		var keys []uint32
		for i := range 5000 {
			keys = append(keys, 1+uint32((min(random.IntN(most), random.IntN(most))+i/1000)%most))
		}
		if diff := cmp.Diff(slowPolicy(capacity, keys), tokencache.PolicyHits(capacity, keys)); diff != "" {
			t.Errorf("capacity %d: the policies differ", capacity)
		}
	}
}

// TestUseCountsAndEnds: a hit by header keeps an entry, and only for a while.
func TestUseCountsAndEnds(t *testing.T) {
	src := newTestSource()
	c := solo(t, src, tokencache.Config{MaxEntries: 10})
	hot := mustToken(t, "a/a/hot", "supersecret")
	src.set(hot)
	fill := func(from, to int, use bool) {
		for i := from; i < to; i++ {
			token := mustToken(t, fmt.Sprintf("a/a/%d", i), "supersecret")
			src.set(token)
			check(t, c, token, "ok")
			check(t, c, token, "ok")
			if use {
				if v, err := c.Authenticate(t.Context(), header(hot)); err != nil || i > from && !v.FromMemory {
					t.Fatalf("%d: got %+v, %v", i, v, err)
				}
			}
		}
	}
	fill(0, 100, true)
	fill(100, 200, false)
	if _, _, ok := c.Remembers(hot.ID()); ok {
		t.Error("it is still remembered, although it is not used any more")
	}
}

// TestARefreshIsNoUse: an entry that could not be loaded again ahead of its expiry makes
// room like others once it is not used any more.
func TestARefreshIsNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource()
		c := solo(t, src, tokencache.Config{MaxEntries: 10, TTL: time.Hour, Jitter: -1, RefreshAhead: 50 * time.Minute})
		load := func(i int) tokencache.Token {
			token := mustToken(t, fmt.Sprintf("a/a/%d", i), "supersecret")
			src.set(token)
			check(t, c, token, "ok")
			return token
		}
		first := load(0)
		time.Sleep(30 * time.Minute)
		src.fail()
		check(t, c, first, "ok")
		synctest.Wait()
		if got := c.Stats(); got.Loads != 2 || got.Errors != 1 {
			t.Fatalf("got %+v, want that it was loaded again, in vain", got)
		}
		src.before = nil
		for i := range 100 {
			check(t, c, load(1+i), "ok") // which is its use
		}
		if _, _, ok := c.Remembers(first.ID()); ok {
			t.Error("it is still remembered, although it is not used any more")
		}
	})
}
