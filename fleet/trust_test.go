package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
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

// A failing log fails as a test decides.
type failing struct {
	*fleettest.Conn
	appends atomic.Pointer[func(fleetlog.Entry) error] // called before an entry is written; nil: none fails
	answers atomic.Pointer[func(fleetlog.Entry) error] // after it was written
	reads   atomic.Pointer[func(keys []string) error]
	follows atomic.Pointer[error]
	opened  atomic.Int64 // how many followers were asked for
}

func (f *failing) Append(ctx context.Context, e fleetlog.Entry) (fleetlog.Position, error) {
	if fail := f.appends.Load(); fail != nil {
		if err := (*fail)(e); err != nil {
			return 0, err
		}
	}
	pos, err := f.Conn.Append(ctx, e)
	if fail := f.answers.Load(); fail != nil && err == nil {
		if err := (*fail)(e); err != nil {
			return 0, err
		}
	}
	return pos, err
}

func (f *failing) Read(ctx context.Context, keys ...string) (fleetlog.View, error) {
	if fail := f.reads.Load(); fail != nil {
		if err := (*fail)(keys); err != nil {
			return fleetlog.View{}, err
		}
	}
	return f.Conn.Read(ctx, keys...)
}

func (f *failing) Follow(ctx context.Context, from fleetlog.Position) (fleetlog.Follower, error) {
	f.opened.Add(1)
	if err := f.follows.Load(); err != nil {
		return nil, *err
	}
	return f.Conn.Follow(ctx, from)
}

func (f *failing) failAppends(prefix string, err error) {
	fail := func(e fleetlog.Entry) error {
		if strings.HasPrefix(e.Key, prefix) {
			return err
		}
		return nil
	}
	f.appends.Store(&fail)
}

// failReads makes reads fail that ask for a key which begins like this.
func (f *failing) failReads(prefix string, err error) {
	fail := func(keys []string) error {
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) {
				return err
			}
		}
		return nil
	}
	f.reads.Store(&fail)
}

// failingNode starts a node whose log fails later, beside another node, in a log that is
// old enough.
func failingNode(t *testing.T, cfg fleet.Config) (*failing, *fleet.Node, *station, *fleettest.Log) {
	t.Helper()
	log := fleettest.NewLog()
	b := start(t, log, "b")
	f := &failing{Conn: log.Connect()}
	cfg.Name = "a"
	node, err := fleet.NewWith(f, &recorder{}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	for _, n := range []*fleet.Node{node, b.Node} {
		if err := n.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	log.Settle()
	synctest.Wait()
	return f, node, b, log
}

var errDisk = errors.New("the disk is full")

// TestLogsErrorIsTold: the error of a call that ends with its context has the log's last
// error.
func TestLogsErrorIsTold(t *testing.T) {
	doc := indexsource.Document{Token: account.TokenID("t0"), Enabled: true, Hash: aHash}
	for _, tt := range []struct {
		name string
		fail func(*failing)
		call func(context.Context, *fleet.Node) error
	}{
		{"an eviction that is not appended", func(f *failing) { f.failAppends("evict.", errDisk) }, func(ctx context.Context, n *fleet.Node) error {
			_, err := n.Evict(ctx, "elastic", "fleet-server", "t0")
			return err
		}},
		{"an eviction whose membership is not read", func(f *failing) { f.failReads("node.*", errDisk) }, func(ctx context.Context, n *fleet.Node) error {
			_, err := n.Evict(ctx, "elastic", "fleet-server", "t0")
			return err
		}},
		{"a document that is not appended", func(f *failing) { f.failAppends("doc.", errDisk) }, func(ctx context.Context, n *fleet.Node) error {
			return n.Index().Put(ctx, doc)
		}},
		{"a document that is not read", func(f *failing) { f.failReads("doc.", errDisk) }, func(ctx context.Context, n *fleet.Node) error {
			_, _, err := n.Index().Get(ctx, doc.Token)
			return err
		}},
		{"a list that is not read", func(f *failing) { f.failReads("doc.", errDisk) }, func(ctx context.Context, n *fleet.Node) error {
			_, err := n.Index().List(ctx, account)
			return err
		}},
		{"a creation that is not read", func(f *failing) { f.failReads("doc.", errDisk) }, func(ctx context.Context, n *fleet.Node) error {
			_, err := n.Index().Create(ctx, doc.Token, "")
			return err
		}},
		{"a creation that is not appended", func(f *failing) { f.failAppends("doc.", errDisk) }, func(ctx context.Context, n *fleet.Node) error {
			_, err := n.Index().Create(ctx, doc.Token, "")
			return err
		}},
		{"a deletion that is not read", func(f *failing) { f.failReads("doc.", errDisk) }, func(ctx context.Context, n *fleet.Node) error {
			return n.Index().Delete(ctx, doc.Token)
		}},
		{"a rotation that is not read", func(f *failing) { f.failReads("doc.", errDisk) }, func(ctx context.Context, n *fleet.Node) error {
			_, err := n.Index().Rotate(ctx, doc.Token, 0, "")
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, node, b, _ := failingNode(t, fleet.Config{})
				b.conn.Cut(true, true) // it cannot answer
				tt.fail(f)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				err := tt.call(ctx, node)
				if !errors.Is(err, errDisk) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v", err)
				}
				if time.Since(began) != time.Second {
					t.Errorf("it took %v", time.Since(began))
				}
			})
		})
	}
}

// TestUnfit: a call ends at once if the log can never carry it out.
func TestUnfit(t *testing.T) {
	unfit := fmt.Errorf("too large: %w", fleetlog.ErrUnfit)
	synctest.Test(t, func(t *testing.T) {
		f, node, b, log := failingNode(t, fleet.Config{})
		time.Sleep(simLease / 4) // each has heard of the other
		began := time.Now()
		f.failAppends("evict.", unfit)
		if report, err := node.Evict(t.Context(), "elastic", "fleet-server", "t0"); !errors.Is(err, fleetlog.ErrUnfit) || errors.As(err, new(*fleet.UnconfirmedError)) || report.Evicted["index"] != 1 {
			t.Errorf("an eviction: %+v, %v", report, err)
		}
		f.failAppends("doc.", unfit)
		if err := node.Index().Put(t.Context(), indexsource.Document{Token: account.TokenID("t0"), Hash: aHash}); !errors.Is(err, fleetlog.ErrUnfit) {
			t.Errorf("a document: %v", err)
		}
		f.appends.Store(nil)
		f.failReads("doc.", unfit)
		if _, err := node.Index().List(t.Context(), account); !errors.Is(err, fleetlog.ErrUnfit) {
			t.Errorf("a list: %v", err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
		// With more nodes than the log can list at once, the change relies on the
		// deadline and on what was heard.
		f.failReads("node.*", unfit)
		log.Settle()
		b.conn.Cut(true, true)
		report, err := node.Evict(t.Context(), "elastic", "fleet-server", "t0")
		if took := time.Since(began).Truncate(10 * time.Microsecond); err != nil || took != fleet.Allow(simLease) {
			t.Errorf("an eviction: %v, after %v", err, took)
		}
		if len(report.Nodes) != 1 || report.Nodes[0].Name != "b" || report.Nodes[0].NotServingSince.IsZero() {
			t.Errorf("the report has %+v", report.Nodes)
		}
	})
}

// TestPutDoesNotComeBack: a Put whose answer was lost, and whose token somebody has
// deleted since, writes nothing again.
func TestPutDoesNotComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, node, b, _ := failingNode(t, fleet.Config{})
		f.Repeat = nil
		id := account.TokenID("t0")
		var once atomic.Bool
		lose := func(e fleetlog.Entry) error {
			if strings.HasPrefix(e.Key, "doc.") && once.CompareAndSwap(false, true) {
				synctest.Wait()
				if err := b.Index().Delete(context.Background(), id); err != nil {
					t.Errorf("delete: %v", err)
				}
				forget := func(fleetlog.Entry) error { return fleetlog.ErrConflict } // as NATS does
				f.appends.Store(&forget)
				return errDisk
			}
			return nil
		}
		f.answers.Store(&lose)
		err := node.Index().Put(t.Context(), indexsource.Document{Token: id, Enabled: true, Hash: aHash})
		if !errors.As(err, new(*fleet.UnconfirmedError)) || errors.Is(err, fleetlog.ErrConflict) {
			t.Errorf("got %v, want that it is unconfirmed", err)
		}
		f.appends.Store(nil)
		if _, ok, err := b.Index().Get(t.Context(), id); ok || err != nil {
			t.Errorf("the deleted token is back: %v, %v", ok, err)
		}
	})
}

// TestEvictOnANodeThatLags: B's deletion is in the log, but not confirmed. An eviction on
// A, which lags, returns only when A has applied the deletion too.
func TestEvictOnANodeThatLags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		id := account.TokenID("t0")
		if err := a.Index().Put(t.Context(), indexsource.Document{Token: id, Enabled: true, Hash: aHash}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.setDelay(func(what string) time.Duration {
			if what == "deliver" {
				return 400 * time.Millisecond
			}
			return 0
		})
		a.behind.Store(1)
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := b.Index().Delete(short, id); !errors.As(err, new(*fleet.UnconfirmedError)) {
			t.Fatalf("the deletion: %v, want that it is unconfirmed", err)
		}
		if _, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0"); err != nil {
			t.Fatal(err)
		}
		a.behind.Store(2) // a replica that has neither
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, ok, err := a.Index().Get(ctx, id); ok {
			t.Errorf("A reads the deleted document, %v", err)
		}
		a.behind.Store(0)
		a.setDelay(func(string) time.Duration { return 0 })
	})
}

// TestDeadNode: an eviction waits for a node that is dead until its lease is known to be
// over, and from then on it does not.
func TestDeadNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		time.Sleep(simLease / 4)
		synctest.Wait()
		heard := a.member(t, "b")
		b.conn.Cut(true, true)
		for i, want := range []bool{true, false, false} {
			if _, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0"); err != nil {
				t.Fatal(err)
			}
			now := time.Now()
			if now.Before(heard.Until) || now.After(heard.Until.Add(simLease/3)) && i == 0 {
				t.Errorf("eviction %d returned %v after b's lease", i, now.Sub(heard.Until))
			}
			if b.caches.serves() {
				t.Error("b serves")
			}
			if !want && time.Since(now) > 0 {
				t.Errorf("eviction %d took %v", i, time.Since(now))
			}
		}
		began := time.Now()
		report, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0")
		if err != nil || time.Since(began) > 0 {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		if len(report.Nodes) != 1 || !report.Nodes[0].NotServingSince.Equal(heard.Until) || report.Nodes[0].Err != nil {
			t.Errorf("the report has %+v", report.Nodes)
		}
		b.conn.Heal()
		if err := b.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestHeardIsNotForgotten: changes wait for a node that was heard even if a view leaves
// it out.
func TestHeardIsNotForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, b := pair(t)
		time.Sleep(simLease / 4)
		synctest.Wait()
		// As with a mirror without heartbeats: b's is gone, and nobody was told.
		key := "node." + b.Status().ID + ".1"
		b.conn.Cut(true, true)
		a.conn.Cut(false, true)
		if _, err := log.Connect().Append(t.Context(), fleetlog.Entry{Key: key, ID: "gone", TTL: time.Nanosecond, Value: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		a.conn.Heal()
		if _, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0"); err != nil {
			t.Fatal(err)
		}
		if b.caches.serves() {
			t.Error("the eviction has returned, and b serves")
		}
		b.conn.Heal()
	})
}

// TestTwoVersions: nodes of two versions share a log of the earlier one's. A record that
// only the later one knows clears the other's caches. When an operator raises the log's
// version, the earlier node leaves and says why.
func TestTwoVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := fleettest.NewLog()
		earlier := start(t, log, "earlier")
		caches := &recorder{}
		later, err := fleet.NewWith(log.Connect(), caches, fleet.Config{Name: "later"}.WithVersion(2))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(later.Close)
		for _, n := range []*fleet.Node{earlier.Node, later} {
			if err := n.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		log.Settle()
		time.Sleep(simLease / 4)
		synctest.Wait()
		got := map[string]int{}
		for _, m := range earlier.Members() {
			got[m.Name] = m.Version
		}
		if diff := cmp.Diff(map[string]int{"earlier": 1, "later": 2}, got); diff != "" {
			t.Errorf("versions (-want +got):\n%s", diff)
		}
		earlier.caches.take()
		began := time.Now()
		if err := later.SpreadLater(t.Context()); err != nil || time.Since(began) > 0 {
			t.Errorf("a record that the earlier one does not know: %v after %v", err, time.Since(began))
		}
		if diff := cmp.Diff([]string{"clear"}, earlier.caches.take()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		meta := fmt.Sprintf(`{"version":2,"log":%q,"lease_ns":%d,"new_field":true}`, earlier.Status().Log, simLease)
		if _, err := log.Connect().Append(t.Context(), fleetlog.Entry{Key: "meta", ID: "raised", Value: []byte(meta)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(simLease)
		st := earlier.Status()
		if st.Serving || !errors.Is(st.Err, fleet.ErrVersion) || earlier.caches.serves() || time.Since(st.Since) < simLease/2 {
			t.Errorf("the earlier one: %+v", st)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := earlier.Ready(short); !errors.Is(err, fleet.ErrVersion) || !errors.Is(err, fleet.ErrNotServing) {
			t.Errorf("the earlier one: %v", err)
		}
	})
}

// TestWhyItDoesNotServe: the status says why and since when, while the node still tries.
func TestWhyItDoesNotServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		f := &failing{Conn: fleettest.NewLog().Connect()}
		f.failAppends("node.", errDisk)
		node, err := fleet.NewWith(f, &recorder{}, fleet.Config{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		time.Sleep(time.Second)
		if st := node.Status(); st.Serving || !errors.Is(st.Err, errDisk) || !st.Since.Equal(began) || st.Members != 0 || !st.Renewed.IsZero() {
			t.Errorf("before it has joined: %+v", st)
		}
		time.Sleep(2 * simLease)
		if st := node.Status(); !errors.Is(st.Err, errDisk) || !strings.HasPrefix(st.Err.Error(), "fleet: ") && st.Err != errDisk {
			t.Errorf("after an attempt to join has failed: %v", st.Err)
		}
		f.appends.Store(nil)
		if err := node.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		synctest.Wait()
		st := node.Status()
		if !st.Serving || st.Err != nil || st.Since.After(now) || now.Sub(st.Since) > time.Second || st.Members != 1 || st.Pending != 0 || st.Renewed.IsZero() || st.Until.Sub(st.Renewed) != st.Lease {
			t.Errorf("while it serves: %+v", st)
		}
	})
}

// TestWrongLog: a node does not join another log than its host names, nor a new one.
func TestWrongLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, _ := pair(t)
		join := func(log *fleettest.Log, identity string) error {
			node, err := fleet.NewWith(log.Connect(), &recorder{}, fleet.Config{Name: "c", Log: identity})
			if err != nil {
				t.Fatal(err)
			}
			defer node.Close()
			ctx, cancel := context.WithTimeout(t.Context(), simLease)
			defer cancel()
			return node.Ready(ctx)
		}
		if err := join(log, a.Status().Log); err != nil {
			t.Errorf("the log that its host names: %v", err)
		}
		if err := join(log, "another"); err == nil || !strings.Contains(err.Error(), a.Status().Log) {
			t.Errorf("another log: %v", err)
		}
		fresh := fleettest.NewLog()
		if err := join(fresh, a.Status().Log); err == nil || slices.Contains(fresh.Keys(), "meta") {
			t.Errorf("a new log: %v, which has %q", err, fresh.Keys())
		}
	})
}

// TestFewNodes: a node that is alone, against its configuration, says so.
func TestFewNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for nodes, want := range map[int]error{0: nil, 2: nil, 3: fleet.ErrFewNodes} {
			_, node, b, _ := failingNode(t, fleet.Config{Nodes: nodes})
			report, err := node.Evict(t.Context(), "elastic", "fleet-server", "t0")
			if !errors.Is(err, want) || want != nil && (!errors.As(err, new(*fleet.UnconfirmedError)) || !strings.HasSuffix(err.Error(), ": 2, not 3")) || len(report.Nodes) != 1 {
				t.Errorf("of %d nodes: %+v, %v", nodes, report.Nodes, err)
			}
			node.Close()
			b.Close()
		}
	})
}

// TestAsk: every node is asked, again if a letter is lost, and a node that does not
// answer is named.
func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := fleettest.NewLog()
		var nodes []*fleet.Node
		var conns []*fleettest.Conn
		var asked atomic.Int64
		for _, name := range []string{"c", "a", "b", "mute"} {
			cfg := fleet.Config{Name: name, Answer: func(question string) string {
				asked.Add(1)
				return name + " hears " + question
			}}
			if name == "mute" {
				cfg.Answer = nil
			}
			conn := log.Connect()
			node, err := fleet.NewWith(conn, &recorder{}, cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(node.Close)
			if err := node.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			nodes, conns = append(nodes, node), append(conns, conn)
		}
		time.Sleep(simLease / 4)
		synctest.Wait()
		var lost atomic.Int64
		conns[1].Copies = func() int { return int(lost.Add(1)) - 1 } // the first is lost, the next ones come often
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		var got []string
		for _, a := range nodes[0].Ask(ctx, "hello") {
			got = append(got, fmt.Sprintf("%s: %q %v", a.Name, a.Text, a.Err))
		}
		want := []string{`a: "a hears hello" <nil>`, `b: "b hears hello" <nil>`, `c: "c hears hello" <nil>`, `mute: "" context deadline exceeded`}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if time.Since(began) != 5*time.Second || asked.Load() < 4 {
			t.Errorf("it took %v, and %d were asked", time.Since(began), asked.Load())
		}
		nodes[3].Close()
		synctest.Wait()
		began = time.Now()
		if answers := nodes[0].Ask(ctx, "hello"); len(answers) != 3 || time.Since(began) > 0 {
			// The context has ended: nodes that answer at once may be heard or not.
			for _, a := range answers {
				if a.Err != nil && !errors.Is(a.Err, context.DeadlineExceeded) {
					t.Errorf("got %+v", answers)
				}
			}
		}
	})
}

// TestReopenBacksOff: a follower that fails at once is opened again a few times a lease.
func TestReopenBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, node, _, _ := failingNode(t, fleet.Config{})
		before := f.opened.Load()
		f.follows.Store(&errDisk)
		f.Break()
		until := node.Status().Until
		for time.Now().Before(until) {
			time.Sleep(time.Millisecond)
		}
		if opened := f.opened.Load() - before; opened < 3 || opened > 25 {
			t.Errorf("within a lease the follower was opened %d times", opened)
		}
		f.follows.Store(nil)
		if err := node.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseBesideAHangingLog: Close returns although the log ignores its context, and
// nothing is answered any more.
func TestCloseBesideAHangingLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caches, l := &recorder{}, &stuck{Conn: fleettest.NewLog().Connect()}
		node, err := fleet.NewWith(l, caches, fleet.Config{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if err := node.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		hold := make(chan struct{})
		l.hold.Store(&hold)
		l.Break()
		time.Sleep(time.Second)
		began := time.Now()
		node.Close()
		if took := time.Since(began); took > 5*time.Second || caches.serves() {
			t.Errorf("it took %v, and the caches serve: %v", took, caches.serves())
		}
		close(hold)
		time.Sleep(time.Minute)
	})
}

// TestRotate: the documents of a log have everything that those of other indexes have.
func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		ctx, id := t.Context(), account.TokenID("t0")
		for name, err := range map[string]error{
			"rotate": second(a.Index().Rotate(ctx, id, time.Hour, "x")), "expire": a.Index().SetExpiry(ctx, id, time.Now()), "disable": a.Index().SetEnabled(ctx, id, false),
		} {
			if !errors.Is(err, tokencache.ErrNotFound) {
				t.Errorf("%s a missing token: %v", name, err)
			}
		}
		first, err := a.Index().Create(ctx, id, "operator")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		now := time.Now()
		next, err := b.Index().Rotate(ctx, id, time.Hour, "rotator")
		if err != nil {
			t.Fatal(err)
		}
		expires := now.Add(24 * time.Hour)
		if err := a.Index().SetExpiry(ctx, id, expires); err != nil {
			t.Fatal(err)
		}
		doc, ok, err := a.Index().Get(ctx, id)
		if err != nil || !ok || !doc.Hash.Verify(next.Secret()) || !doc.Previous.Verify(first.Secret()) || !doc.PreviousExpires.Equal(now.Add(time.Hour)) ||
			!doc.Rotated.Equal(now) || doc.RotatedBy != "rotator" || !doc.Expires.Equal(expires) || doc.Creator != "operator" || !doc.Enabled || !doc.Created.Equal(now.Add(-time.Minute)) {
			t.Errorf("got %+v, %v, %v", doc, ok, err)
		}
		if _, err := a.Index().Rotate(ctx, id, 0, "again"); err != nil {
			t.Fatal(err)
		}
		if doc, _, err := b.Index().Get(ctx, id); err != nil || !doc.PreviousExpires.IsZero() || doc.Previous.Verify(next.Secret()) || doc.RotatedBy != "again" {
			t.Errorf("without a grace: %+v, %v", doc, err)
		}
		for _, bad := range []tokencache.TokenID{{}, account.TokenID("_x")} {
			for name, err := range map[string]error{
				"get": third(a.Index().Get(ctx, bad)), "rotate": second(a.Index().Rotate(ctx, bad, 0, "")), "delete": a.Index().Delete(ctx, bad),
				"create": second(a.Index().Create(ctx, bad, "")), "put": a.Index().Put(ctx, indexsource.Document{Token: bad}),
			} {
				if !errors.As(err, new(*tokencache.NameError)) {
					t.Errorf("%s %v: %v", name, bad, err)
				}
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func third[T, U any](_ T, _ U, err error) error { return err }
