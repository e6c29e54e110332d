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

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

func TestUnconfirmedErrorNames(t *testing.T) {
	why := errors.New("why")
	for want, nodes := range map[string][]evict.Node{
		"fleet: it is not known whether the change is in force on every node: why": {{ID: "a", Name: "A"}},
		"fleet: the change is not confirmed by B (b), C (c): why":                  {{ID: "a", Name: "A"}, {ID: "b", Name: "B", Err: why}, {ID: "c", Name: "C", Err: why}},
	} {
		err := &fleet.UnconfirmedError{Nodes: nodes, Err: why}
		if err.Error() != want || !errors.Is(err, why) {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

func TestEventKinds(t *testing.T) {
	var got []string
	for k := fleet.EventServing - 1; k <= fleet.EventApplied+1; k++ {
		got = append(got, k.String())
	}
	if diff := cmp.Diff([]string{"unknown", "serving", "stopped", "renewed", "reopened", "join_failed", "applied", "unknown"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestEventsOfANode: an observer hears of each event in a node's life, with its details.
func TestEventsOfANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		var mu sync.Mutex // guards got
		began := time.Now()
		f := &failing{Conn: fleettest.NewLog().Connect()}
		f.failAppends("node.", errDisk)
		f.Delay = func(what string) time.Duration {
			return map[string]time.Duration{"request": 10 * time.Millisecond, "reply": 10 * time.Millisecond}[what]
		}
		node, err := fleet.NewWith(f, &recorder{}, fleet.Config{Name: "a", Observer: func(e fleet.Event) {
			if e.Kind == fleet.EventJoinFailed && (!errors.Is(e.Err, errDisk) || !strings.HasPrefix(e.Err.Error(), "fleet: join: ")) {
				t.Errorf("it did not join: %v", e.Err)
			}
			if e.Node == "" || e.Kind != fleet.EventJoinFailed && e.Position == 0 {
				t.Errorf("got %+v", e)
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprintf("%v %v %v", e.Kind, e.Duration.Round(10*time.Millisecond), e.Err != nil))
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		time.Sleep(simLease + time.Millisecond)
		f.appends.Store(nil)
		if err := node.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		ready := time.Since(began).Round(10 * time.Millisecond)
		time.Sleep(simLease/5 + 100*time.Millisecond)
		if _, err := f.Conn.Append(t.Context(), fleetlog.Entry{Key: "later.1", ID: "1"}); err != nil {
			t.Fatal(err)
		}
		f.Break()
		time.Sleep(time.Second)
		if _, err := f.Conn.Append(t.Context(), fleetlog.Entry{Key: "node." + node.Status().ID + ".2", ID: "x"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
		want := []string{"join_failed 0s true", fmt.Sprint("serving ", ready, " false"), "renewed 20ms false", "applied 0s false", "reopened 0s true", "stopped 0s true"}
		mu.Lock()
		defer mu.Unlock()
		if diff := cmp.Diff(want, got[:min(len(got), len(want))]); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestSelectorsOfNothing: a selector that selects nothing, or cannot be parsed, is not
// appended.
func TestSelectorsOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, _ := pair(t)
		last := log.Last()
		if _, err := a.Evict(t.Context(), "elastic", "fleet-server", "a,"); !errors.As(err, new(*evict.SelectorError)) {
			t.Errorf("got %v", err)
		}
		if report, err := a.EvictSelector(t.Context(), tokencache.Selector{}); err != nil || len(report.Nodes) > 0 {
			t.Errorf("got %+v, %v", report, err)
		}
		if log.Last() != last {
			t.Errorf("the log has %d more messages", log.Last()-last)
		}
		if calls := a.caches.take(); len(calls) != 1 {
			t.Errorf("the caches were told %q", calls)
		}
	})
}

// TestDocumentsOfOtherTools: a document that cannot be read is an error for its token,
// and left out of lists.
func TestDocumentsOfOtherTools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, _ := pair(t)
		ctx := t.Context()
		for name, value := range map[string]string{"bad": `{"enabled":true,"hash":"plain"}`, "later": `{"enabled":true,"unless":1}`, "previous": `{"hash":"` + aHash.Reveal() + `","previous":"x"}`} {
			if _, err := log.Connect().Append(ctx, fleetlog.Entry{Key: "doc.elastic.fleet-server." + name, ID: name, Value: []byte(value)}); err != nil {
				t.Fatal(err)
			}
			id := account.TokenID(name)
			for what, err := range map[string]error{
				"get": third(a.Index().Get(ctx, id)), "disable": a.Index().SetEnabled(ctx, id, false), "rotate": second(a.Index().Rotate(ctx, id, 0, "")),
			} {
				if err == nil || !strings.HasPrefix(err.Error(), "fleet: document elastic/fleet-server/"+name+": ") || strings.Contains(err.Error(), "unless") || strings.Contains(err.Error(), "%!") {
					t.Errorf("%s %s: %v", what, name, err)
				}
			}
			if _, err := a.Index().Create(ctx, id, ""); !errors.Is(err, tokencache.ErrExists) {
				t.Errorf("create %s: %v", name, err)
			}
			if doc, ok, err := a.Index().Get(ctx, id); ok || doc.Enabled {
				t.Errorf("get %s: %+v, %v, %v", name, doc, ok, err)
			}
		}
		for _, name := range []string{"z", "y"} {
			if err := a.Index().Put(ctx, indexsource.Document{Token: account.TokenID(name), Hash: aHash}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := log.Connect().Append(ctx, fleetlog.Entry{Key: "doc.elastic.fleet-server.a.b", ID: "x", Value: []byte(`{}`)}); err != nil {
			t.Fatal(err)
		}
		docs, err := a.Index().List(ctx, account)
		if err != nil || len(docs) != 2 || docs[0].Token.Name != "y" || docs[1].Token.Name != "z" {
			t.Errorf("got %+v, %v", docs, err)
		}
		if _, err := a.Index().List(ctx, tokencache.Account{}); err == nil {
			t.Error("a list of no account")
		}
		if err := a.Index().Delete(ctx, account.TokenID("bad")); err != nil {
			t.Errorf("delete a document that cannot be read: %v", err)
		}
	})
}

// TestCreatedMeanwhile: a token that another node creates at the same time exists.
func TestCreatedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, node, b, _ := failingNode(t, fleet.Config{})
		id := account.TokenID("t0")
		meanwhile := func(e fleetlog.Entry) error {
			f.appends.Store(nil)
			return second(b.Index().Create(context.Background(), id, "b"))
		}
		f.appends.Store(&meanwhile)
		if _, err := node.Index().Create(t.Context(), id, "a"); !errors.Is(err, tokencache.ErrExists) || !strings.HasSuffix(err.Error(), ": elastic/fleet-server/t0") {
			t.Errorf("got %v", err)
		}
		if doc, _, err := node.Index().Get(t.Context(), id); err != nil || doc.Creator != "b" {
			t.Errorf("got %+v, %v", doc, err)
		}
	})
}

// TestWatchers: a source that begins to watch while the node serves is told the state,
// and nothing more once it has cancelled.
func TestWatchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		group := tokencache.NewGroup(tokencache.GroupConfig{})
		defer group.Close()
		source := indexsource.New(a.Index())
		if _, err := tokencache.New(group, "index", source, tokencache.Config{}); err != nil {
			t.Fatal(err)
		}
		token, err := b.Index().Create(t.Context(), account.TokenID("t0"), "")
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := group.AuthenticateToken(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Index().SetEnabled(t.Context(), token.ID(), false); err != nil {
			t.Fatal(err)
		}
		if _, err := group.AuthenticateToken(t.Context(), token); !errors.Is(err, tokencache.ErrRefused) {
			t.Errorf("a token that another node has disabled: %v", err)
		}
		if got, want := source.State(), (indexsource.State{Health: indexsource.HealthGreen, UUID: a.Status().Log, UpToDate: true}); got != want {
			t.Errorf("while the node serves: %+v, want %+v", got, want)
		}
		other := indexsource.New(a.Index())
		cancel := a.Index().Watch(other)
		cancel()
		cancel()
		a.Close()
		if got := source.State().Health; got != indexsource.HealthRed {
			t.Errorf("the node is closed, and the index is %v", got)
		}
	})
}

// A joining node's caches let a source join while a session begins.
type joining struct {
	recorder
	once   sync.Once
	node   chan *fleet.Node
	source *indexsource.Source
}

func (j *joining) Clear(ctx context.Context, why tokencache.Cause) map[string]int {
	j.once.Do(func() { (<-j.node).Index().Watch(j.source) })
	return j.recorder.Clear(ctx, why)
}

// TestWatchWhileASessionBegins: the source still learns the state.
func TestWatchWhileASessionBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := indexsource.New(new(indexsource.Memory))
		caches := &joining{node: make(chan *fleet.Node, 1), source: source}
		n, err := fleet.NewWith(fleettest.NewLog().Connect(), caches, fleet.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer n.Close()
		caches.node <- n
		if err := n.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := source.State(), (indexsource.State{Health: indexsource.HealthGreen, UUID: n.Status().Log, UpToDate: true}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// hopeless is a log that cannot listen.
type hopeless struct{ *fleettest.Conn }

func (hopeless) Listen(func([]byte)) (string, func(), error) { return "", nil, errDisk }

func TestNoAddress(t *testing.T) {
	if _, err := fleet.NewWith(hopeless{fleettest.NewLog().Connect()}, &recorder{}, fleet.Config{}); !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
}

// TestReadyGivesUp: if the log gives no reason, the error has only the context's.
func TestReadyGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := fleettest.NewLog()
		log.Stop()
		a := start(t, log, "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Ready(ctx); !errors.Is(err, fleet.ErrNotServing) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		log.Start()
	})
}

// TestManyChangesAtOnce: a heartbeat names a bounded number of changes; the others are
// answered by letters.
func TestManyChangesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, b := pair(t)
		errs := make(chan error)
		for range 200 {
			go func() {
				_, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0")
				errs <- err
			}()
		}
		for range 200 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if n := a.Status().Pending; n != 0 {
			t.Errorf("%d changes wait", n)
		}
		time.Sleep(simLease / 4)
		key := "node." + b.Status().ID + ".1"
		view, err := a.conn.Read(t.Context(), key)
		if n := strings.Count(string(view.Messages[key].Value), `"a`); err != nil || n < 64 || n > 70 {
			t.Errorf("the heartbeat names %d changes, %v", n, err)
		}
		time.Sleep(simLease / 5)
		view, err = a.conn.Read(t.Context(), key)
		if n := strings.Count(string(view.Messages[key].Value), `"a`); err != nil || n < 64 {
			t.Errorf("the next heartbeat names %d changes, %v", n, err)
		}
		time.Sleep(simLease / 5)
		view, err = a.conn.Read(t.Context(), key)
		if n := strings.Count(string(view.Messages[key].Value), `"a`); err != nil || n > 5 {
			t.Errorf("the one after that names %d changes, %v", n, err)
		}
		_ = log
	})
}

// TestSettledIsNoted: the nodes note that the log is older than a lease, and from then on
// a change waits for answers alone.
func TestSettledIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := fleettest.NewLog()
		a := start(t, log, "a")
		if err := a.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began).Truncate(10 * time.Microsecond); took != fleet.Allow(simLease) {
			t.Errorf("in a young log it took %v", took)
		}
		time.Sleep(simLease)
		if keys := strings.Join(log.Keys(), " "); !strings.HasSuffix(keys, "settled") {
			t.Errorf("the log has %s", keys)
		}
		began = time.Now()
		if _, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0"); err != nil || time.Since(began) > 0 {
			t.Errorf("in an older log: %v, after %v", err, time.Since(began))
		}
		if err := start(t, log, "b").Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * simLease) // a node that joins later need not note it again
		settled := 0
		for _, history := range log.Histories() {
			for _, m := range history {
				if m.Key == "settled" {
					settled++
				}
			}
		}
		if settled != 1 {
			t.Errorf("it was noted %d times", settled)
		}
	})
}
