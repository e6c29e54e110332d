package filesource

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// notices returns a notifier, and a function that returns the numbers of tokens in its
// calls, in order, those of the logger negative.
func notices() (n *notifier, called *[]int) {
	called = new([]int)
	return newNotifier(
		func(what notice) { *called = append(*called, -what.Tokens) },
		func(st Status) { *called = append(*called, st.Tokens) },
	), called
}

// TestNotifierReportsInOrder: each notice goes to the logger, then to the host. That
// includes a notice that the host adds, and one that was left when the host panicked.
func TestNotifierReportsInOrder(t *testing.T) {
	n, called := notices()
	host := n.host
	n.host = func(st Status) {
		host(st)
		switch st.Tokens {
		case 1:
			n.add(notice{Status: Status{Tokens: 3}})
			n.report(t.Context(), false) // is reported by the one that is under way
		case 3:
			panic("of the host")
		}
	}
	n.add(notice{Status: Status{Tokens: 1}})
	n.add(notice{Status: Status{Tokens: 2}})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		n.report(t.Context(), false)
	}()
	n.add(notice{Status: Status{Tokens: 4}})
	done, cancel := context.WithCancel(t.Context())
	cancel()
	n.report(done, false)
	n.report(t.Context(), false)
	if want := []int{-1, 1, -2, 2, -3, 3, -4, 4}; !slices.Equal(*called, want) {
		t.Errorf("got %v, want %v", *called, want)
	}
}

// TestNotifierWithoutAHost: only the logger is called.
func TestNotifierWithoutAHost(t *testing.T) {
	n, called := notices()
	n.host = nil
	n.add(notice{Status: Status{Tokens: 1}})
	n.report(t.Context(), false)
	if want := []int{-1}; !slices.Equal(*called, want) {
		t.Errorf("got %v, want %v", *called, want)
	}
}

// TestNotifierWaitsForThePoller: but not while the poller calls the host or tells the
// caches. Calls by others meanwhile change nothing.
func TestNotifierWaitsForThePoller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := notices()
		n.set(&n.polling, true)
		waited := func() time.Duration {
			began := time.Now()
			n.untilPollerEnds()
			return time.Since(began)
		}
		time.AfterFunc(time.Second, func() {
			_, end := n.begin(t.Context(), true)
			time.Sleep(time.Second)
			end()
		})
		if got := waited(); got != time.Second {
			t.Errorf("until it tells the caches: waited %v", got)
		}
		_, end := n.begin(t.Context(), false)
		end()
		n.add(notice{})
		n.report(t.Context(), false)
		if got := waited(); got != 0 {
			t.Errorf("while it tells them: waited %v", got)
		}
		time.Sleep(2 * time.Second)
		n.host = func(Status) { time.Sleep(time.Second) }
		n.add(notice{})
		time.AfterFunc(time.Second, func() { n.report(t.Context(), true) })
		time.AfterFunc(5*time.Second, func() { n.set(&n.polling, false) })
		if got := waited(); got != time.Second {
			t.Errorf("until it calls the host: waited %v", got)
		}
		time.Sleep(1500 * time.Millisecond)
		if got := waited(); got != 2500*time.Millisecond {
			t.Errorf("until it ends: waited %v", got)
		}
		if got := waited(); got != 0 {
			t.Errorf("afterwards: waited %v", got)
		}
	})
}

// TestNotifierTellsOfItself: a call from within a notification fails at once, one with
// another context fails after a while, and one from elsewhere waits.
func TestNotifierTellsOfItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, _ := notices()
		other, _ := notices()
		if err := n.untilTold(t.Context()); err != nil {
			t.Errorf("before: got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		told, end := n.begin(ctx, false)
		cancel()
		_, endOther := other.begin(t.Context(), false)
		if told.Err() != nil {
			t.Error("the caches are told with a context that is done")
		}
		for _, test := range []struct {
			name string
			n    *notifier
			ctx  context.Context
			want error
			took time.Duration
		}{
			{"within", n, told, errNotifying, 0},
			{"within, another context", n, t.Context(), errNotifying, 10 * time.Second},
			{"another notifier's", other, told, errNotifying, 10 * time.Second},
			{"done", n, ctx, context.Canceled, 0},
		} {
			began := time.Now()
			if err := test.n.untilTold(test.ctx); !errors.Is(err, test.want) || time.Since(began) != test.took {
				t.Errorf("%s: got %v after %v", test.name, err, time.Since(began))
			}
		}
		time.AfterFunc(3*time.Second, end)
		began := time.Now()
		if err := n.untilTold(t.Context()); err != nil || time.Since(began) != 3*time.Second {
			t.Errorf("from elsewhere: got %v after %v", err, time.Since(began))
		}
		endOther()
		if err := n.untilTold(told); err != nil {
			t.Errorf("afterwards: got %v", err)
		}
	})
}
