package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// TestOneNodeAGroup: a group has one node at a time, and a node that could not be made
// leaves it to others.
func TestOneNodeAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, group := fleettest.NewLog(), tokencache.NewGroup(tokencache.GroupConfig{})
		defer group.Close()
		if _, err := fleet.New(log.Connect(), group, fleet.Config{Lease: 1}); err == nil {
			t.Fatal("a lease of a nanosecond")
		}
		for range 2 {
			node, err := fleet.New(log.Connect(), group, fleet.Config{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fleet.New(log.Connect(), group, fleet.Config{}); err == nil || !strings.HasPrefix(err.Error(), "fleet: tokencache: the group has been claimed") {
				t.Errorf("a second node: %v", err)
			}
			node.Close()
			synctest.Wait()
		}
	})
}

// TestWhyAGroupForgets: a group's observer can tell evictions that were asked for here
// from those of another node.
func TestWhyAGroupForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := fleettest.NewLog()
		told := make(map[string][]string)
		var mu sync.Mutex // guards told
		nodes := make(map[string]*fleet.Node)
		for _, name := range []string{"a", "b"} {
			group := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(_ context.Context, e tokencache.Event) {
				if e.Kind == tokencache.EventEviction {
					mu.Lock()
					defer mu.Unlock()
					told[name] = append(told[name], fmt.Sprint(e.Cause, " ", e.Selectors))
				}
			}})
			defer group.Close()
			node, err := fleet.New(log.Connect(), group, fleet.Config{Name: name})
			if err != nil {
				t.Fatal(err)
			}
			defer node.Close()
			if _, err := tokencache.New(group, "index", indexsource.New(node.Index()), tokencache.Config{}); err != nil {
				t.Fatal(err)
			}
			if err := node.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			nodes[name] = node
		}
		log.Settle()
		synctest.Wait()
		mu.Lock()
		clear(told)
		mu.Unlock()
		if _, err := nodes["a"].Evict(t.Context(), "elastic", "fleet-server", "t0"); err != nil {
			t.Fatal(err)
		}
		if err := nodes["a"].SpreadLater(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		asked, node := tokencache.CauseAsked, tokencache.CauseNode
		want := map[string][]string{
			"a": {fmt.Sprint(asked, " [elastic/fleet-server/t0]"), fmt.Sprint(node, " [elastic/fleet-server/t0]"), fmt.Sprint(asked, " []"), fmt.Sprint(node, " []")},
			"b": {fmt.Sprint(node, " [elastic/fleet-server/t0]"), fmt.Sprint(node, " []")},
		}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// heard counts the listeners of a log.
type heard struct {
	*fleettest.Conn
	listens atomic.Int64
}

func (h *heard) Listen(deliver func([]byte)) (string, func(), error) {
	address, stop, err := h.Conn.Listen(deliver)
	h.listens.Add(1)
	return address, func() { h.listens.Add(-1); stop() }, err
}

// TestNameAndEnd: a node without a name has its host's, and one that is closed listens no
// more.
func TestNameAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &heard{Conn: fleettest.NewLog().Connect()}
		node, err := fleet.NewWith(log, &recorder{}, fleet.Config{})
		if err != nil {
			t.Fatal(err)
		}
		host, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		if st := node.Status(); st.Name != host || st.ID == "" || st.Address == "" || log.listens.Load() != 1 {
			t.Errorf("got %+v, and %d listen", st, log.listens.Load())
		}
		if err := node.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		node.Close()
		if log.listens.Load() != 0 {
			t.Errorf("%d listen", log.listens.Load())
		}
		if answers := node.Ask(t.Context(), "anybody?"); len(answers) != 1 || !errors.Is(answers[0].Err, tokencache.ErrClosed) {
			t.Errorf("a closed node answers: %+v", answers)
		}
	})
}

// TestSessionsOfANode: the event of each session's beginning says how long the node did
// not serve, and each session has a new number.
func TestSessionsOfANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := fleettest.NewLog()
		conn := log.Connect()
		var served []time.Duration
		var mu sync.Mutex // guards served
		node, err := fleet.NewWith(conn, &recorder{}, fleet.Config{Observer: func(e fleet.Event) {
			if e.Kind == fleet.EventServing {
				mu.Lock()
				defer mu.Unlock()
				served = append(served, e.Duration)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		if err := node.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * simLease)
		began := time.Now()
		conn.Cut(true, true)
		time.Sleep(2 * simLease)
		st := node.Status()
		if st.Serving || st.Since.Before(began) || !st.Until.IsZero() || st.Err == nil {
			t.Errorf("while it is cut off: %+v", st)
		}
		conn.Heal()
		if err := node.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if got := time.Since(st.Since); len(served) != 2 || served[1] != got {
			t.Errorf("it did not serve for %v, and says %v", got, served)
		}
		var sessions []int
		for _, m := range node.Members() {
			sessions = append(sessions, m.Session)
		}
		if !slices.Equal(sessions, []int{2}) && !slices.Equal(sessions, []int{3}) {
			t.Errorf("its sessions are %v", sessions)
		}
	})
}

// TestClosedNode: each call of a closed node ends with an error that says so.
func TestClosedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t)
		a.Close()
		ctx := t.Context()
		if err := a.Index().Put(ctx, indexsource.Document{Token: account.TokenID("t0"), Hash: aHash}); !errors.Is(err, fleet.ErrNotServing) {
			t.Errorf("put: %v", err)
		}
		if err := a.Index().NoteUses(ctx, map[tokencache.TokenID]time.Time{account.TokenID("t0"): time.Now()}); !errors.Is(err, fleet.ErrNotServing) {
			t.Errorf("note uses: %v", err)
		}
		if _, err := a.Index().LastUses(ctx, account); !errors.Is(err, fleet.ErrNotServing) {
			t.Errorf("last uses: %v", err)
		}
		if err := a.Ready(ctx); !errors.Is(err, fleet.ErrNotServing) {
			t.Errorf("ready: %v", err)
		}
	})
}
