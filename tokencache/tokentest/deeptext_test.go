package tokentest

import (
	"sync"
	"testing"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

func TestDeepText(t *testing.T) {
	type inner struct{ n *int }
	type outer struct {
		a  *inner
		m  map[string]*int
		id tokencache.TokenID
	}
	type locked struct {
		_ sync.Mutex
		n int
	}
	type ring struct{ next *ring }
	circle := new(ring)
	circle.next = circle
	loop := []any{nil}
	loop[0] = loop
	at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name string
		a, b any
		same bool
	}{
		{name: "nothing", a: nil, b: nil, same: true},
		{name: "behind two pointers", a: outer{a: &inner{new(1)}}, b: outer{a: &inner{new(2)}}},
		{name: "in a map", a: outer{m: map[string]*int{"x": new(1)}}, b: outer{m: map[string]*int{"x": new(2)}}},
		{name: "maps in any order", a: map[int]int{1: 1, 2: 2, 3: 3}, b: map[int]int{3: 3, 2: 2, 1: 1}, same: true},
		{name: "ids", a: outer{id: account.TokenID("a")}, b: outer{id: account.TokenID("b")}},
		{name: "times", a: at, b: at.Add(1)},
		{name: "what has a lock", a: &locked{n: 1}, b: &locked{n: 2}, same: true},
		{name: "lists", a: []*int{new(1)}, b: []*int{new(2)}},
		{name: "bytes", a: []byte("a"), b: []byte("b")},
		{name: "functions", a: func() {}, b: func() {}, same: true},
		{name: "circles", a: circle, b: circle, same: true},
		{name: "lists in themselves", a: loop, b: loop, same: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if a, b := deepText(test.a), deepText(test.b); (a == b) != test.same {
				t.Errorf("got %s and %s, want the same %v", a, b, test.same)
			}
		})
	}
	if got, want := deepText(account.TokenID("a")), "elastic/fleet-server/a"; got != want {
		t.Errorf("an id: got %s, want %s", got, want)
	}
}
