package tokencache_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

var unknownNames = flag.Int("unknown", 100_000, "how many distinct `names` TestUnknownNames sends; it sends others as often again")

// A countingSource holds the tokens of one account, and counts the reads of others. It
// keeps nothing of what it was asked, so that the heap is the cache's alone.
type countingSource struct{ good, unknown atomic.Int64 }

func (s *countingSource) Lookup(_ context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	if id.Account.Namespace != "good" {
		s.unknown.Add(1)
		return tokencache.Answer[record]{}, nil
	}
	s.good.Add(1)
	return tokencache.Answer[record]{Held: true, Verify: func(tokencache.Secret) bool { return true }}, nil
}

func (*countingSource) Subscribe(tokencache.Invalidator) func() { return func() {} }

// TestUnknownNames: names that nobody holds cost the source one read each, and the last
// 10 000 of them one read in each AbsentTTL, however often they are sent. Beside them a
// thousand good tokens, as many as the cache remembers, stay in memory. What is
// remembered takes as much of the heap at the end as when the cache had its first 10 000
// absences. Where each name has its own account, the map of accounts grows, once, as
// Go's maps never give up what deleted keys have made them take. With -unknown 1000000
// it takes about a quarter of a minute.
func TestUnknownNames(t *testing.T) {
	for _, test := range []struct {
		accounts, name string // of the i-th
		most           float64
	}{
		{"one account", "nobody/one/t%08d", 1.05},
		{"an account each", "nobody/s%08d/t", 1.5},
	} {
		t.Run(test.accounts, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { floodWithUnknownNames(t, test.name, test.most) })
		})
	}
}

func floodWithUnknownNames(t *testing.T, name string, most float64) {
	const (
		good     = 1000
		absences = 10_000
		ttl      = 5 * time.Second // the default of AbsentTTL
	)
	src, g := new(countingSource), tokencache.NewGroup(tokencache.GroupConfig{})
	c := newCache(t, g, "test", src, tokencache.Config{MaxEntries: good})
	var headers []string
	for i := range good {
		headers = append(headers, header(mustToken(t, fmt.Sprintf("good/s%d/t%d", i%20, i), "supersecret")))
		if _, err := g.Authenticate(t.Context(), headers[i]); err != nil {
			t.Fatal(err)
		}
	}
	sent, asked := 0, 0
	send := func(i int) { // and each tenth time a good token
		if _, err := g.AuthenticateToken(t.Context(), mustToken(t, fmt.Sprintf(name, i), "supersecret")); !errors.Is(err, tokencache.ErrRefused) {
			t.Fatalf("name %d: got %v", i, err)
		}
		if sent++; sent%10 == 0 {
			if _, err := g.Authenticate(t.Context(), headers[asked%good]); err != nil {
				t.Fatal(err)
			}
			asked++
		}
	}

	// Each name once: in each AbsentTTL five times as many as are remembered.
	var full uint64
	distinct := max(*unknownNames, 3*absences)
	for i := range distinct {
		if i == absences {
			full = heap()
		}
		send(i)
		if i%absences == absences-1 {
			time.Sleep(ttl / 5)
		}
	}
	if got := src.unknown.Load(); got != int64(distinct) {
		t.Errorf("%d distinct names cost %d reads", distinct, got)
	}
	if got := tokencache.Linked(g); got > good+absences {
		t.Errorf("%d entries are linked, want %d tokens and at most %d absences", got, good, absences)
	}

	// The first names over and over, for some times AbsentTTL.
	time.Sleep(ttl)
	src.unknown.Store(0)
	const passes = 5 // in each AbsentTTL
	rounds := max(*unknownNames/absences/passes, 2)
	for range rounds * passes {
		for i := range absences {
			send(i)
		}
		time.Sleep(ttl / passes)
	}
	if got := src.unknown.Load(); got != int64(rounds*absences) {
		t.Errorf("%d names in %d times AbsentTTL cost %d reads", absences, rounds, got)
	}
	for i := range absences { // what was remembered when the heap was looked at first
		send(i)
	}
	now := heap()
	t.Logf("%d authentications of unknown names, %d of good tokens. The heap has %d bytes, and had %d", sent, asked, now, full)
	if ratio := float64(now) / float64(full); ratio > most {
		t.Errorf("the heap has %.2f times the bytes that it had, want at most %.2f", ratio, most)
	}
	st := c.Stats()
	if lost := src.good.Load() - good; float64(lost) > 0.001*float64(asked) {
		t.Errorf("%d of %d good tokens were not in memory: %+v", lost, asked, st)
	}
	if of := g.Stats(); st.Loading+st.Waiting+st.Abandoned > 0 || of.Hashing+of.Waiting > 0 {
		t.Errorf("got %+v, %+v, want nothing that runs", st, of)
	}
}

// heap returns how many bytes the heap has after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one found to be garbage is swept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
