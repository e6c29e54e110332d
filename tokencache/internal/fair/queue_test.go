package fair_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/tokencache/internal/fair"
)

type queue = fair.Queue[string, string]

// add has work wait: "account/name/what", urgent where it ends with "!".
func add(q *queue, work string) (displaced string) {
	parts := strings.Split(work, "/")
	w := &fair.Waiter[string, string]{Account: parts[0], Name: parts[1], Urgent: strings.HasSuffix(work, "!"), Value: work}
	gone, ok := q.Add(w)
	switch {
	case !ok:
		return work
	case gone != nil:
		return gone.Value
	}
	return ""
}

// drain ends turns one by one, and returns the order in which the others begin.
func drain(q *queue, first string) (order []string) {
	for running := first; ; {
		q.GiveBack(running, time.Second)
		work, ok := q.Next()
		if !ok {
			return order
		}
		order = append(order, work)
		running, _, _ = strings.Cut(work, "/")
	}
}

func TestAccountsThenNamesThenFirstCome(t *testing.T) {
	q := fair.New[string, string](fair.Limits[string]{Turns: 1, PerAccount: 1, Places: 10, PlacesPerAccount: 10})
	q.Take("x")
	for _, work := range []string{"a/1/", "a/1/wrong", "a/2/", "b/1/", "c/1/good!"} {
		add(q, work)
	}
	want := []string{"c/1/good!", "a/1/", "b/1/", "a/2/", "a/1/wrong"}
	if got := drain(q, "x"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTheLongestAccountGivesWay(t *testing.T) {
	q := fair.New[string, string](fair.Limits[string]{Turns: 1, PerAccount: 1, Places: 3, PlacesPerAccount: 3})
	q.Take("x")
	for _, step := range []struct{ add, displaced string }{
		{"a/1/", ""}, {"a/2/", ""}, {"a/3/", ""},
		{"a/4/", "a/4/"}, // its account has its share
		{"b/1/", "a/3/"}, // a waits with the most
		{"b/2/", "b/2/"}, // not longer than its own would be
	} {
		if got := add(q, step.add); got != step.displaced {
			t.Errorf("%s: got %q, want %q", step.add, got, step.displaced)
		}
	}
}
