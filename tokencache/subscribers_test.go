package tokencache_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

// A listener notes what it is told, and may do something on the way.
type listener struct {
	told []string
	do   func()
}

func (l *listener) Evict(_ context.Context, why tokencache.Cause, sels ...tokencache.Selector) int {
	for _, sel := range sels {
		l.told = append(l.told, why.String()+" "+sel.String())
	}
	return len(sels)
}

func (l *listener) Clear(_ context.Context, why tokencache.Cause) int {
	l.told = append(l.told, why.String()+" all")
	if l.do != nil {
		l.do()
	}
	return 10
}

func TestSubscribersTellAllOfThem(t *testing.T) {
	var subs tokencache.Subscribers
	var a, b listener
	endA := subs.Add(&a)
	again := subs.Add(&a)
	subs.Add(&b)
	if gone := subs.Evict(t.Context(), tokencache.CauseSource, named(t, fleet, "token1"), all(t, fleet)); gone != 6 || subs.Len() != 3 {
		t.Errorf("got %d gone from %d caches, want 6 from 3", gone, subs.Len())
	}
	endA()
	endA() // does nothing
	if gone := subs.Clear(t.Context(), tokencache.CauseState); gone != 20 || subs.Len() != 2 {
		t.Errorf("got %d gone from %d caches, want 20 from 2", gone, subs.Len())
	}
	again()
	evicted := []string{"source elastic/fleet-server/token1", "source elastic/fleet-server/*"}
	if diff := cmp.Diff(append(append(evicted, evicted...), "state all"), a.told); diff != "" {
		t.Errorf("a was told (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append(evicted, "state all"), b.told); diff != "" {
		t.Errorf("b was told (-want +got):\n%s", diff)
	}
}

// TestSubscribersMayChangeWhileTold: a cache that is told may end its own
// subscription and begin others; that must neither hang nor lose anyone.
func TestSubscribersMayChangeWhileTold(t *testing.T) {
	var subs tokencache.Subscribers
	var first, second, third listener
	var end func()
	first.do = func() { end(); subs.Add(&third) }
	end = subs.Add(&first)
	subs.Add(&second)
	subs.Clear(t.Context(), tokencache.CauseSource)
	subs.Clear(t.Context(), tokencache.CauseSource)
	if got := [3]int{len(first.told), len(second.told), len(third.told)}; got != [3]int{1, 2, 1} {
		t.Errorf("told %v times, want 1, 2 and 1", got)
	}
}

func TestCauseNames(t *testing.T) {
	want := []string{"asked", "source", "state", "closed", "node", "unknown"}
	for c, name := range want {
		if got := tokencache.Cause(c).String(); got != name {
			t.Errorf("Cause(%d): got %q, want %q", c, got, name)
		}
	}
}
