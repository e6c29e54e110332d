package tokencache_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// TestTheTableGrowsInAnyOrder: the table keeps its load factor, whatever is cleared
// while one of its arrays is made, or while an observer is told of the load that needed
// the array.
func TestTheTableGrowsInAnyOrder(t *testing.T) {
	for _, test := range []struct {
		name  string
		begin func(t *testing.T, f *growing) (end func())
	}{
		{"the array is late", func(_ *testing.T, f *growing) func() { return tokencache.GrowLate(f.group) }},
		{"the observer is late", func(t *testing.T, f *growing) func() {
			f.holding.Store(true)
			for range 2000 { // one of them needs the next array
				f.load(t, 1)
			}
			f.holding.Store(false)
			return func() { f.check(t); close(f.held) }
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &growing{held: make(chan struct{})}
			f.group = tokencache.NewGroup(tokencache.GroupConfig{Observer: func(_ context.Context, ev tokencache.Event) {
				if ev.Kind == tokencache.EventLoad && f.holding.Load() {
					<-f.held
				}
			}})
			c, err := tokencache.New(f.group, "test", open{}, tokencache.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			f.load(t, 1000)
			end := test.begin(t, f)
			f.group.Clear(t.Context())
			f.load(t, 1000)
			end()
			f.load(t, 6000)
			f.check(t)
		})
	}
}

// A growing group loads tokens, each for the first time.
type growing struct {
	group   *tokencache.Group
	loaded  int
	holding atomic.Bool // the observer waits when it is told of a load
	held    chan struct{}
}

func (f *growing) load(t *testing.T, tokens int) {
	t.Helper()
	for range tokens {
		f.loaded++
		if _, err := f.group.AuthenticateToken(t.Context(), mustToken(t, fmt.Sprintf("a/b/t%d", f.loaded), "supersecret")); err != nil {
			t.Fatal(err)
		}
	}
}

// check checks the load factor: 4 entries in a bucket, and twice as many while it grows.
func (f *growing) check(t *testing.T) {
	t.Helper()
	n, _ := tokencache.Buckets(f.group)
	if linked := tokencache.Linked(f.group); linked < 1000 || linked > 8*n {
		t.Errorf("%d entries in %d buckets", linked, n)
	}
}
