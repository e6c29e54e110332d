package fair_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/tokencache/internal/fair"
)

type queue = fair.Queue[string, string]

// add lets work wait: "account/name/what", urgent if it ends with "!".
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
		q.GiveBack(running, time.Second, time.Second)
		work, ok := q.Next()
		if !ok {
			return order
		}
		order = append(order, work)
		running, _, _ = strings.Cut(work, "/")
	}
}

func TestAccountsThenNamesThenFirstCome(t *testing.T) {
	q := fair.New[string, string](fair.Limits[string]{Turns: 1, PerAccount: 1, Waiters: 10})
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
	q := fair.New[string, string](fair.Limits[string]{Turns: 1, PerAccount: 1, Waiters: 3})
	q.Take("x")
	for _, step := range []struct{ add, displaced string }{
		{"a/1/", ""}, {"a/2/", ""}, {"a/3/", ""},
		{"a/4/", "a/4/"}, // no other account has more
		{"b/1/", "a/3/"}, // a waits with the most
		{"b/2/", "b/2/"}, // not longer than its own would be
	} {
		if got := add(q, step.add); got != step.displaced {
			t.Errorf("%s: got %q, want %q", step.add, got, step.displaced)
		}
	}
}

// TestUrgentWorkGivesWay: urgent work takes a place from ordinary work, but gives one up
// to an account with fewer waiters.
func TestUrgentWorkGivesWay(t *testing.T) {
	q := fair.New[string, string](fair.Limits[string]{Turns: 1, PerAccount: 1, Waiters: 4})
	q.Take("x")
	for _, step := range []struct{ add, displaced string }{
		{"a/1/", ""}, {"a/2/", ""}, {"a/3/", ""}, {"u/1/!", ""},
		{"u/2/!", "a/3/"},  // of the account that waits with the most
		{"u/3/!", "u/3/!"}, // no account waits with more, and its own has no ordinary work
		{"c/1/", "u/2/!"}, {"d/1/", "a/2/"}, {"e/1/", "e/1/"},
	} {
		got := add(q, step.add)
		if got != step.displaced {
			t.Errorf("%s: got %q, want %q", step.add, got, step.displaced)
		}
	}
	if q.Waiting() != 4 {
		t.Errorf("%d wait, want 4", q.Waiting())
	}
}

// TestNoWaiters: if nobody may wait, work that comes while the turns are taken is
// turned away.
func TestNoWaiters(t *testing.T) {
	q := fair.New[string, string](fair.Limits[string]{Turns: 1, PerAccount: 1})
	q.Take("x")
	for _, work := range []string{"a/1/", "u/1/!"} {
		if got := add(q, work); got != work {
			t.Errorf("%s: got %q", work, got)
		}
	}
}

// TestCheapOnesPass: an account whose turns are cheap gets an extra turn beside expensive
// ones, also after one turn of its own was slow.
func TestCheapOnesPass(t *testing.T) {
	q := fair.New[string, string](fair.Limits[string]{Turns: 1, PerAccount: 1, Extra: 1, Waiters: 10, ByCost: true})
	turn := func(account string, took time.Duration) {
		t.Helper()
		if !q.Take(account) {
			t.Fatalf("%s got no turn", account)
		}
		q.GiveBack(account, took, 0)
	}
	for range 10 {
		turn("cheap", 100*time.Microsecond)
	}
	turn("cheap", 10*time.Second) // the machine was busy, once
	turn("a", time.Second)
	turn("b", time.Second)
	q.Take("a")
	q.Take("b")
	turn("cheap", 100*time.Microsecond)
	q.Take("cheap")
	if q.Take("cheap") {
		t.Error("an account with a turn got an extra one")
	}
}

// TestWait: the estimate follows the turns that ended in the last second, or else the
// average duration of a turn.
func TestWait(t *testing.T) {
	q := fair.New[string, string](fair.Limits[string]{Turns: 2, PerAccount: 2, Waiters: 100})
	now := time.Duration(0)
	for range 200 {
		q.Take("x")
		now += 100 * time.Millisecond
		q.GiveBack("x", 400*time.Millisecond, now)
	}
	q.Take("x")
	q.Take("x")
	for i := range 20 {
		add(q, "a/"+string(rune('a'+i))+"/")
	}
	if got := q.Wait(now); got < 1800*time.Millisecond || got > 2300*time.Millisecond {
		t.Errorf("at ten turns a second: got %v for 20, want about 2s", got)
	}
	if got := q.Wait(now + time.Minute); got < 3900*time.Millisecond || got > 4100*time.Millisecond {
		t.Errorf("after a minute without a turn: got %v for 20 turns of 400ms, two at once, want about 4s", got)
	}
}

// TestNothingIsKept: the queue keeps nothing for accounts that neither wait nor have a
// turn.
func TestNothingIsKept(t *testing.T) {
	q := fair.New[string, string](fair.Limits[string]{Turns: 1, PerAccount: 1, Waiters: 1000})
	q.Take("x")
	for i := range 200 {
		add(q, "a"+string(rune('a'+i))+"/1/")
	}
	drain(q, "x")
	if got := q.Accounts(); got != 0 {
		t.Errorf("%d accounts are kept", got)
	}
}

// TestDisplacedByTheOnlyOther: after a flood the queue gives its memory back, in the middle
// of an Add that displaces the last work that waits.
func TestDisplacedByTheOnlyOther(t *testing.T) {
	blocked := &fair.Count[string]{Limit: 1}
	q := fair.New[string, string](fair.Limits[string]{Turns: 100, PerAccount: 1, Waiters: 1, Blocked: blocked})
	var flood []string
	for i := range 65 {
		flood = append(flood, strings.Repeat("x", i+1))
	}
	for _, account := range flood {
		if blocked.PerAccount = 1; !q.Take(account) {
			t.Fatalf("no turn for %s", account)
		}
	}
	blocked.Add("other")
	add(q, "a/1/")
	for _, account := range flood {
		q.GiveBack(account, time.Second, time.Second)
	}
	if got := add(q, "b/1/!"); got != "a/1/" {
		t.Errorf("displaced %q", got)
	}
	blocked.Remove("other")
	if work, ok := q.Next(); work != "b/1/!" || !ok {
		t.Errorf("next: %q, %v", work, ok)
	}
	if q.Take("b") {
		t.Error("a second turn for the account")
	}
	q.GiveBack("b", time.Second, time.Second)
	if q.Accounts() != 0 || q.Running() != 0 || q.Waiting() != 0 {
		t.Errorf("%d accounts, %d turns and %d that wait are left", q.Accounts(), q.Running(), q.Waiting())
	}
}

// TestLastAccount: the account that was there last has its turns counted right, whether it
// comes again, or others come in between.
func TestLastAccount(t *testing.T) {
	q := fair.New[string, string](fair.Limits[string]{Turns: 3, PerAccount: 2, ByCost: true})
	for _, step := range []string{"+a", "-a", "+a", "+a", "!a", "+b", "!c", "-a", "+b", "-b", "-a", "-b", "+b", "+a", "+c", "!d", "-c", "-b", "-a"} {
		account, want := step[1:], step[0] == '+'
		if step[0] == '-' {
			q.GiveBack(account, time.Second, time.Second)
		} else if got := q.Take(account); got != want {
			t.Fatalf("%s: %v", step, got)
		}
	}
	if q.Accounts() != 0 || q.Running() != 0 {
		t.Errorf("%d accounts and %d turns are left", q.Accounts(), q.Running())
	}
	q.Take("a")
	if got := q.Accounts(); got != 1 {
		t.Errorf("%d accounts while one has a turn", got)
	}
}

// TestUnknownIsCheap: an account that was never there is taken for a cheap one, also in the
// place of an expensive one.
func TestUnknownIsCheap(t *testing.T) {
	q := fair.New[string, string](fair.Limits[string]{Turns: 1, PerAccount: 1, Extra: 1, ByCost: true})
	for _, account := range []string{"a", "b", "c"} {
		q.Take(account)
		for range 15 { // a class at a time
			q.GiveBack(account, time.Hour, 0)
			q.Take(account)
		}
		q.GiveBack(account, time.Hour, 0)
	}
	q.Take("a")
	q.Take("b")
	if q.Take("c") {
		t.Error("an expensive account got an extra turn")
	}
	if !q.Take("unknown") {
		t.Error("an account that was never there got none")
	}
}
