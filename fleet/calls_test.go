package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// A watched log records a node's calls, and fails as a test decides.
type watched struct {
	*fleettest.Conn
	began time.Time

	mu    sync.Mutex // guards the fields below
	calls []call
	fail  func(ctx context.Context, n int, key string) error // of the nth call since it was set; nil: nothing fails
	n     int
	open  []context.Context // of all calls
}

// A call is one call of a node's.
type call struct {
	what, key string
	at, until time.Duration // since the log was made
	entry     fleetlog.Entry
}

func (w *watched) note(ctx context.Context, what, key string, e fleetlog.Entry) error {
	w.mu.Lock()
	deadline, _ := ctx.Deadline()
	w.calls = append(w.calls, call{what, key, time.Since(w.began), deadline.Sub(w.began), e})
	w.open = append(w.open, ctx)
	fail := w.fail
	if fail != nil {
		w.n++
	}
	n := w.n
	w.mu.Unlock()
	if fail == nil {
		return nil
	}
	return fail(ctx, n, key)
}

func (w *watched) Append(ctx context.Context, e fleetlog.Entry) (fleetlog.Position, error) {
	if err := w.note(ctx, "append", e.Key, e); err != nil {
		return 0, err
	}
	return w.Conn.Append(ctx, e)
}

func (w *watched) Read(ctx context.Context, keys ...string) (fleetlog.View, error) {
	if err := w.note(ctx, "read", strings.Join(keys, " "), fleetlog.Entry{}); err != nil {
		return fleetlog.View{}, err
	}
	return w.Conn.Read(ctx, keys...)
}

func (w *watched) Follow(ctx context.Context, from fleetlog.Position) (fleetlog.Follower, error) {
	if err := w.note(ctx, "follow", fmt.Sprint(from), fleetlog.Entry{}); err != nil {
		return nil, err
	}
	return w.Conn.Follow(ctx, from)
}

// take returns the calls since the last take whose keys begin like this.
func (w *watched) take(prefix string) (list []call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if strings.HasPrefix(c.key, prefix) {
			list = append(list, c)
		}
	}
	w.calls = nil
	return list
}

func (w *watched) failing(fail func(ctx context.Context, n int, key string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail, w.n = fail, 0
}

// watchedNode starts a node alone, in a log that is old enough. It takes its IDs from a
// counter, and pauses for exactly as long as it should on average.
func watchedNode(t *testing.T) (*watched, *fleet.Node) {
	t.Helper()
	w := &watched{Conn: fleettest.NewLog().Connect(), began: time.Now()}
	var mu sync.Mutex // guards n
	n := 0
	newID := func() string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprint("id", n)
	}
	node, err := fleet.NewWith(w, &recorder{}, fleet.Config{Name: "a"}.WithTest(&simClock{begin: time.Now(), rate: 1}, newID, func() float64 { return 0.5 }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	if err := node.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w, node
}

// TestWhatANodeWrites: each entry, with its condition and for how long it is kept.
func TestWhatANodeWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, node := watchedNode(t)
		wrote := func() (list []string) {
			for _, c := range w.take("") {
				if c.what != "append" {
					continue
				}
				condition := "always"
				if c.entry.If != nil {
					condition = fmt.Sprint("if ", *c.entry.If)
				}
				list = append(list, fmt.Sprintf("%s %s, %s, delete %v, %v: %s", c.key, c.entry.ID, condition, c.entry.Delete, c.entry.TTL, c.entry.Value))
			}
			return list
		}
		check := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(want, wrote()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		check("it joins",
			`node.id1.1 id2, if 0, delete false, 45s: {"version":1,"name":"a","address":"a1","first":true,"applied":0}`,
			`meta id4, if 0, delete false, 0s: {"version":1,"log":"id3","lease_ns":15000000000}`)
		time.Sleep(simLease/5 + time.Second)
		check("it renews", `node.id1.1 id5, if 1, delete false, 45s: {"version":1,"name":"a","address":"a1","joined":1,"applied":2}`)
		time.Sleep(simLease)
		wrote()
		time.Sleep(time.Second)
		wrote()
		if _, err := node.Evict(t.Context(), "elastic", "fleet-server", "t1,t0"); err != nil {
			t.Fatal(err)
		}
		check("it evicts", `evict.id12 id12, always, delete false, 45s: {"namespace":"elastic","service":"fleet-server","names":"t0,t1","answer":"a1"}`)
		doc := indexsource.Document{Token: account.TokenID("t0"), Enabled: true, Hash: aHash, Creator: "operator"}
		if err := node.Index().Put(t.Context(), doc); err != nil {
			t.Fatal(err)
		}
		check("a document", `doc.elastic.fleet-server.t0 id13, if 0, delete false, 0s: {"creator":"operator","enabled":true,"hash":"`+aHash.Reveal()+`","answer":"a1"}`)
		if err := node.Index().Delete(t.Context(), doc.Token); err != nil {
			t.Fatal(err)
		}
		check("a deletion", `doc.elastic.fleet-server.t0 id14, if 11, delete true, 1h0m0s: {"answer":"a1"}`)
		if err := node.Index().NoteUses(t.Context(), map[tokencache.TokenID]time.Time{doc.Token: time.Unix(7, 0)}); err != nil {
			t.Fatal(err)
		}
		check("a use", `note.used.elastic.fleet-server id15, if 0, delete false, 0s: {"t0":7}`)
		time.Sleep(simLease / 5)
		synctest.Wait()
		// The log was noted as settled in the instant of a heartbeat: either may have come first.
		next := wrote()
		for i := range next {
			next[i] = strings.Replace(next[i], "if 9", "if 8", 1)
		}
		want := []string{`node.id1.1 id16, if 8, delete false, 45s: {"version":1,"name":"a","address":"a1","joined":1,"applied":13,"changes":["id12","id13","id14"]}`}
		if diff := cmp.Diff(want, next); diff != "" {
			t.Errorf("the next heartbeat (-want +got):\n%s", diff)
		}
		node.Close()
		check("it leaves", `node.id1.1 id17, always, delete true, 45s: `)
	})
}

// TestCallsAreBounded: each attempt has a fifth of a lease, and leaves no context behind.
func TestCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, node := watchedNode(t)
		time.Sleep(2 * simLease)
		if _, err := node.Evict(t.Context(), "elastic", "fleet-server", "t0"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := node.Index().Get(t.Context(), account.TokenID("t0")); err != nil {
			t.Fatal(err)
		}
		w.Break()
		synctest.Wait()
		open := 0
		for _, c := range w.take("") {
			if c.what != "follow" && c.key != "settled" && c.until-c.at != simLease/5+time.Microsecond {
				t.Errorf("%s %s has %v", c.what, c.key, c.until-c.at)
			}
		}
		for _, ctx := range w.open {
			if ctx.Err() == nil {
				open++
			}
		}
		if open > 3 { // the follower's, the one before it, and the mark's, which end with the session
			t.Errorf("%d contexts are left behind", open)
		}
		node.Close()
		for i, ctx := range w.open {
			if ctx.Err() == nil {
				t.Errorf("after Close, context %d is left behind", i)
			}
		}
	})
}

// TestPauses: between two attempts there is a pause, which grows for reads.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, node := watchedNode(t)
		time.Sleep(simLease/5 + time.Second) // a heartbeat is not due for two seconds
		ms := func(calls []call) (list []int64) {
			for _, c := range calls {
				list = append(list, (c.at - calls[0].at).Round(time.Millisecond).Milliseconds())
			}
			return list
		}
		down := func(context.Context, int, string) error { return errDisk }
		for _, tt := range []struct {
			what, prefix string
			do           func(context.Context) error
			want         []int64
		}{
			{"reads", "doc.", func(ctx context.Context) error { return third(node.Index().Get(ctx, account.TokenID("t0"))) }, []int64{0, 15, 45, 105, 225, 465, 945}},
			{"appends", "evict.", func(ctx context.Context) error { return second(node.Evict(ctx, "elastic", "fleet-server", "t0")) }, []int64{0, 300, 600, 900}},
		} {
			w.take("")
			w.failing(down)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := tt.do(ctx); !errors.Is(err, errDisk) {
				t.Errorf("%s: %v", tt.what, err)
			}
			cancel()
			if diff := cmp.Diff(tt.want, ms(w.take(tt.prefix))); diff != "" {
				t.Errorf("%s, in milliseconds (-want +got):\n%s", tt.what, diff)
			}
			w.failing(nil)
		}
	})
}

// TestFollowersPause: a follower that fails at once is opened after a hundredth of a lease,
// then after twice as long each time.
func TestFollowersPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := watchedNode(t)
		time.Sleep(simLease/5 + time.Millisecond) // a heartbeat is not due for three seconds
		w.take("")
		w.failing(func(_ context.Context, _ int, key string) error {
			if strings.ContainsAny(key, "abcdefghijklmnopqrstuvwxyz") {
				return nil
			}
			return errDisk // what follows has a number
		})
		w.Break()
		time.Sleep(simLease/5 - time.Second/4)
		var got []int64
		for _, c := range w.take("") {
			if c.what == "follow" {
				got = append(got, (c.at - simLease/5).Round(10*time.Millisecond).Milliseconds())
			}
		}
		if diff := cmp.Diff([]int64{150, 300, 600, 1200, 2400}, got); diff != "" {
			t.Errorf("in milliseconds (-want +got):\n%s", diff)
		}
		w.failing(nil)
	})
}

// TestWhichErrorIsTold: if the log has failed several times, the call returns the last
// error before its end.
func TestWhichErrorIsTold(t *testing.T) {
	first, later, end := errors.New("first"), errors.New("later"), errors.New("at the end")
	for _, tt := range []struct {
		name string
		fail func(ctx context.Context, n int, key string) error
		want error
	}{
		{"the later of two", func(_ context.Context, n int, _ string) error {
			if n == 1 {
				return first
			}
			return later
		}, later},
		{"not what the end of the call made of it", func(ctx context.Context, n int, _ string) error {
			if n == 1 {
				return first
			}
			<-ctx.Done()
			return end
		}, first},
		{"the only one", func(ctx context.Context, _ int, _ string) error { <-ctx.Done(); return end }, end},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, node := watchedNode(t)
				ctx, cancel := context.WithTimeout(t.Context(), simLease/6)
				defer cancel()
				w.failing(tt.fail)
				_, _, read := node.Index().Get(ctx, account.TokenID("t0"))
				w.failing(tt.fail)
				uses := map[tokencache.TokenID]time.Time{account.TokenID("t0"): time.Now()}
				w.failing(func(ctx context.Context, _ int, key string) error {
					if !strings.HasPrefix(key, "note.") || strings.Contains(key, " ") { // it is read
						return nil
					}
					w.mu.Lock()
					n := 0
					for _, c := range w.calls {
						if c.what == "append" && strings.HasPrefix(c.key, "note.") {
							n++
						}
					}
					w.mu.Unlock()
					return tt.fail(ctx, n, key)
				})
				again, cancelAgain := context.WithTimeout(t.Context(), simLease/6)
				defer cancelAgain()
				wrote := node.Index().NoteUses(again, uses)
				for what, err := range map[string]error{"a read": read, "an append": wrote} {
					if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, tt.want) {
						t.Errorf("%s: got %v, want %v", what, err, tt.want)
					}
					for _, other := range []error{first, later, end} {
						if other != tt.want && errors.Is(err, other) {
							t.Errorf("%s: got %v, want %v", what, err, tt.want)
						}
					}
				}
				w.failing(nil)
			})
		})
	}
}
