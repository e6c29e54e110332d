package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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

// A recorder replaces a group, and records its calls.
type recorder struct {
	mu    sync.Mutex // guards the fields below
	calls []string
	until time.Time

	// If set: an eviction by another node waits until this is closed. Set it
	// before the node starts.
	evicting chan struct{}
}

func (r *recorder) note(call string) map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
	return map[string]int{"index": 1}
}

func (r *recorder) Evict(_ context.Context, why tokencache.Cause, sels ...tokencache.Selector) map[string]int {
	if r.evicting != nil && why == tokencache.CauseNode {
		<-r.evicting
	}
	return r.note(fmt.Sprintf("evict %s (%s)", sels[0], why))
}

func (r *recorder) Clear(context.Context, tokencache.Cause) map[string]int { return r.note("clear") }

func (r *recorder) Lease(until time.Time) {
	call := "lease"
	if !time.Now().Before(until) {
		call = "lapse"
	}
	r.note(call)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.until = until
}

func (r *recorder) serves() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.until)
}

// take returns the calls since the last take.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

// A station is a node, its connection and its caches.
type station struct {
	*fleet.Node
	conn   *fleettest.Conn
	caches *recorder
	clock  *simClock
	delay  atomic.Pointer[func(what string) time.Duration] // of the connection, set while it is in use
	behind atomic.Int64                                    // how many messages the replica that answers reads lacks
	past   atomic.Int64                                    // how many logs ago it is from
}

func (s *station) setDelay(delay func(what string) time.Duration) { s.delay.Store(&delay) }

func start(t *testing.T, log *fleettest.Log, name string, before ...func(*station)) *station {
	t.Helper()
	return startWith(t, log, name, &recorder{}, before...)
}

// startWith starts a node, after prepare, which sets what must hold before the node asks
// the log for anything.
func startWith(t *testing.T, log *fleettest.Log, name string, caches *recorder, before ...func(*station)) *station {
	t.Helper()
	s := &station{conn: log.Connect(), caches: caches, clock: &simClock{begin: time.Now(), rate: 1}}
	s.conn.Delay = func(what string) time.Duration {
		if delay := s.delay.Load(); delay != nil {
			return (*delay)(what)
		}
		return 0
	}
	s.conn.Replica = func() fleettest.Replica {
		return fleettest.Replica{Behind: fleetlog.Position(s.behind.Load()), Past: int(s.past.Load())}
	}
	n := 0
	var mu sync.Mutex
	newID := func() string {
		mu.Lock()
		defer mu.Unlock()
		n++
		return fmt.Sprintf("%s%d", name, n)
	}
	for _, prepare := range before {
		prepare(s)
	}
	node, err := fleet.NewWith(s.conn, s.caches, fleet.Config{Name: name}.WithTest(s.clock, newID, func() float64 { return 0.5 }))
	if err != nil {
		t.Fatal(err)
	}
	s.Node = node
	t.Cleanup(node.Close)
	return s
}

// pair starts two nodes that serve, in a log that is old enough.
func pair(t *testing.T) (log *fleettest.Log, a, b *station) {
	t.Helper()
	log = fleettest.NewLog()
	a, b = start(t, log, "a"), start(t, log, "b")
	for _, s := range []*station{a, b} {
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.caches.take()
	}
	log.Settle()
	return log, a, b
}

func TestJoinClearsBeforeItServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := fleettest.NewLog()
		log.Stop()
		a := start(t, log, "a")
		synctest.Wait()
		if diff := cmp.Diff([]string{"lapse"}, a.caches.take()); diff != "" {
			t.Errorf("before it has joined (-want +got):\n%s", diff)
		}
		t0 := time.Now()
		time.Sleep(2 * time.Second)
		log.Start()
		if err := a.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"clear", "lease"}, a.caches.take()); diff != "" {
			t.Errorf("when it joins (-want +got):\n%s", diff)
		}
		if got, want := a.Status().Until, t0.Add(simLease); !got.Equal(want) {
			t.Errorf("the lease ends %v after the first sending, want %v", got.Sub(t0), simLease)
		}
	})
}

// TestRenewalIsDatedBeforeItIsSent: the lease does not run from the acknowledgement, nor
// from the delivery.
func TestRenewalIsDatedBeforeItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, _, b := pair(t)
		b.setDelay(func(what string) time.Duration {
			return map[string]time.Duration{"request": time.Second / 2, "reply": time.Second / 2, "deliver": 7 * time.Second / 10}[what]
		})
		time.Sleep(simLease/5 + simLease/6)
		if got, want := b.Status().Until.Sub(began).Round(time.Millisecond), simLease+simLease/5; got != want {
			t.Errorf("the lease runs until %v, want %v", got, want)
		}
	})
}

func TestEvictReportsNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		report, err := a.Evict(t.Context(), "elastic", "fleet-server", "t1,t0")
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Nodes) != 1 || report.Nodes[0].Name != "b" || report.Nodes[0].Err != nil || report.Nodes[0].Evicted["index"] != 1 {
			t.Errorf("the report has nodes %+v, want b with what it evicted", report.Nodes)
		}
		if diff := cmp.Diff([]string{"evict elastic/fleet-server/t0,t1 (node)"}, b.caches.take()); diff != "" {
			t.Errorf("the other node (-want +got):\n%s", diff)
		}
		if report.Duration > 0 {
			t.Errorf("it took %v without a delay", report.Duration)
		}
	})
}

// TestAnswerComesAfterApplying: a node that is slow to evict does not answer before it
// has.
func TestAnswerComesAfterApplying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, _ := pair(t)
		slow := startWith(t, log, "c", &recorder{evicting: make(chan struct{})})
		if err := slow.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0")
			done <- err
		}()
		time.Sleep(time.Second)
		select {
		case err := <-done:
			t.Errorf("the eviction returned, with error %v, before a node had applied it", err)
			close(slow.caches.evicting)
		default:
			close(slow.caches.evicting)
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestReadsOfAnOldLog: a node does not believe a replica that still answers from an
// earlier log, at a high position.
func TestReadsOfAnOldLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, _ := pair(t)
		if err := a.Index().Put(t.Context(), indexsource.Document{Token: account.TokenID("t0"), Enabled: true, Hash: aHash}); err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if _, err := a.conn.Append(t.Context(), fleetlog.Entry{Key: "note.else", ID: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
		log.Recreate()
		time.Sleep(2 * simLease)
		if err := a.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.past.Store(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, ok, err := a.Index().Get(ctx, account.TokenID("t0")); err == nil {
			t.Errorf("got a document: %v, from a log that has gone", ok)
		}
		a.past.Store(0)
		if _, ok, err := a.Index().Get(t.Context(), account.TokenID("t0")); ok || err != nil {
			t.Errorf("got %v, %v; want that there is no such document", ok, err)
		}
	})
}

func TestEvictWaitsForTheLeaseOfANodeThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		b.conn.Cut(true, true)
		start := time.Now()
		report, err := a.Evict(t.Context(), "elastic", "fleet-server", "*")
		if err != nil {
			t.Fatal(err)
		}
		if b.caches.serves() {
			t.Error("the eviction has returned, and the node that is cut off serves")
		}
		if took := time.Since(start).Truncate(10 * time.Microsecond); took != fleet.Allow(simLease) {
			t.Errorf("it took %v, want %v", took, fleet.Allow(simLease))
		}
		if n := report.Nodes[0]; n.Err != nil || n.NotServingSince.Sub(start) != fleet.Allow(simLease) {
			t.Errorf("the report says %+v", n)
		}
		b.conn.Heal()
		if err := b.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestWaitBeginsAtTheAcknowledgement: a lease may have begun while the eviction was on its
// way to the log.
func TestWaitBeginsAtTheAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		b.conn.Cut(true, true)
		a.setDelay(func(what string) time.Duration { return map[string]time.Duration{"request": time.Second}[what] })
		start := time.Now()
		if _, err := a.Evict(t.Context(), "elastic", "fleet-server", "*"); err != nil {
			t.Fatal(err)
		}
		if took, want := time.Since(start).Truncate(10*time.Microsecond), time.Second+fleet.Allow(simLease); took != want {
			t.Errorf("it took %v, want %v", took, want)
		}
		a.setDelay(func(string) time.Duration { return 0 })
		b.conn.Heal()
	})
}

func TestEvictGoesOnAfterItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		b.conn.Cut(false, true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		report, err := a.Evict(ctx, "elastic", "fleet-server", "t0")
		unconfirmed, ok := errors.AsType[*fleet.UnconfirmedError](err)
		if !ok || len(unconfirmed.Nodes) != 1 || unconfirmed.Nodes[0].Err == nil || unconfirmed.Nodes[0].UnconfirmedUntil.IsZero() {
			t.Fatalf("got %v, want an UnconfirmedError that names b and until when", err)
		}
		if len(report.Nodes) != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got report %+v, error %v", report, err)
		}
		b.conn.Heal()
		synctest.Wait()
		if diff := cmp.Diff([]string{"evict elastic/fleet-server/t0 (node)"}, b.caches.take()); diff != "" {
			t.Errorf("the other node (-want +got):\n%s", diff)
		}
	})
}

// TestLostAnswers: answers may get lost, since heartbeats repeat them.
func TestLostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		b.conn.Copies = func() int { return 0 }
		start := time.Now()
		if _, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > simLease/2 {
			t.Errorf("it took %v", took)
		}
	})
}

// TestSkipped: b lags, the first of two documents of one token is superseded before
// b gets it, and b's heartbeat stands between the two. Seeing that heartbeat proves
// nothing about the first document.
func TestSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, a, b := pair(t)
		change := func(at time.Duration, what func()) {
			time.Sleep(at - time.Since(began))
			go what()
		}
		put := func() {
			doc := indexsource.Document{Token: account.TokenID("t0"), Hash: aHash}
			a.Index().Put(context.Background(), doc)
		}
		b.setDelay(func(what string) time.Duration {
			if what == "deliver" {
				return 300 * time.Millisecond
			}
			return 0
		})
		// b is busy with an eviction when the first document is written, sends its
		// heartbeat at 3 s, and then the second document is written.
		change(2900*time.Millisecond, func() { a.Evict(context.Background(), "elastic", "fleet-server", "t1") })
		change(2950*time.Millisecond, put)
		change(3100*time.Millisecond, put)
		for time.Since(began) < 3950*time.Millisecond {
			time.Sleep(50 * time.Millisecond)
			b.caches.mu.Lock()
			until := b.caches.until.Sub(began)
			b.caches.mu.Unlock()
			if until > simLease {
				t.Fatalf("after %v the lease runs until %v, and the document has not been delivered", time.Since(began), until)
			}
		}
		if diff := cmp.Diff([]string{"evict elastic/fleet-server/t1 (node)"}, b.caches.take()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestRollBack: the log is rolled back to before what b has applied, and goes on. A
// follower that is opened anew must not take the new messages for those it had.
func TestRollBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, b := pair(t)
		before := log.Last()
		if _, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0"); err != nil {
			t.Fatal(err)
		}
		// b notices that its follower broke after the log has passed its position.
		b.setDelay(func(what string) time.Duration {
			if what == "break" {
				return 100 * time.Millisecond
			}
			return 0
		})
		a.caches.take()
		b.caches.take()
		log.RollBack(before)
		other := log.Connect()
		value := []byte(`{"namespace":"elastic","service":"fleet-server","names":"t1"}`)
		if _, err := other.Append(t.Context(), fleetlog.Entry{Key: "evict.x", Value: value, ID: "x"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if diff := cmp.Diff([]string{"lapse", "clear", "clear", "lease"}, b.caches.take()); diff != "" {
			t.Errorf("b (-want +got):\n%s", diff)
		}
	})
}

// TestRecreated: a node that has joined a new log cannot know which nodes have a lease
// from an earlier one.
func TestRecreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, b := pair(t)
		b.conn.Cut(true, true)
		log.Recreate()
		time.Sleep(simLease / 4) // a notices when it renews
		if err := a.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !b.caches.serves() {
			t.Fatal("b has no lease any more, so the test proves nothing")
		}
		if _, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0"); err != nil {
			t.Fatal(err)
		}
		if b.caches.serves() {
			t.Error("the eviction has returned, and a node serves on a lease from an earlier log")
		}
		b.conn.Heal()
	})
}

// TestLostChange: a log that was made anew has not reached the position of a change
// for long, and the node that asked for it has not seen it delivered. Its first heartbeat
// in the new log shows that the change is not in it.
func TestLostChange(t *testing.T) {
	t.Run("an eviction", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			log, a, b := longLog(t)
			began := time.Now()
			a.deliverSlowly(t, b)
			a.behind.Store(1)
			done := make(chan error, 1)
			go func() {
				_, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0")
				done <- err
			}()
			time.Sleep(simLease / 30) // acknowledged, and not delivered
			log.Recreate()
			a.behind.Store(0)
			if err := <-done; err != nil {
				t.Error(err)
			}
			// The time of a session's beginning, of a heartbeat that is delivered after a
			// second, and of a lease to be sure of the new log.
			if took := time.Since(began); took > 2*simLease {
				t.Errorf("an eviction that its log has lost took %v", took)
			}
		})
	})
	t.Run("a document", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			log, a, b := longLog(t)
			a.deliverSlowly(t, b)
			done := make(chan error, 1)
			go func() {
				done <- a.Index().Put(t.Context(), indexsource.Document{Token: account.TokenID("t0"), Enabled: true, Hash: aHash})
			}()
			time.Sleep(simLease / 60) // read, and appended
			a.behind.Store(1)
			time.Sleep(simLease / 60) // acknowledged, and not delivered
			log.Recreate()
			a.behind.Store(0)
			if err := <-done; !errors.As(err, new(*fleet.UnconfirmedError)) {
				t.Errorf("a document that its log has lost: got error %v, want one that it is unconfirmed", err)
			}
		})
	})
}

// longLog is pair, in a log with a thousand messages: a new one does not reach its end.
func longLog(t *testing.T) (log *fleettest.Log, a, b *station) {
	t.Helper()
	log, a, b = pair(t)
	for i := range 1000 {
		if _, err := b.conn.Append(t.Context(), fleetlog.Entry{Key: "note.else", ID: fmt.Sprint("before", i)}); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	return log, a, b
}

// deliverSlowly makes each message to this node take a second, and keeps the node busy
// with one.
func (s *station) deliverSlowly(t *testing.T, other *station) {
	t.Helper()
	s.setDelay(func(what string) time.Duration {
		if what == "deliver" {
			return time.Second
		}
		return 0
	})
	if _, err := other.conn.Append(t.Context(), fleetlog.Entry{Key: "note.else", ID: "slow"}); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func TestOtherToolsMayWrite(t *testing.T) {
	for _, tt := range []struct {
		name  string
		entry fleetlog.Entry
		want  []string
	}{
		{"an eviction", fleetlog.Entry{Key: "evict.1", Value: []byte(`{"namespace":"elastic","service":"fleet-server","names":"*"}`)}, []string{"evict elastic/fleet-server/* (node)"}},
		{"an eviction that cannot be read", fleetlog.Entry{Key: "evict.1", Value: []byte(`{`)}, []string{"clear"}},
		{"an eviction that names nothing", fleetlog.Entry{Key: "evict.1", Value: []byte(`{"namespace":"elastic","service":"fleet-server"}`)}, []string{"clear"}},
		{"an eviction taken away", fleetlog.Entry{Key: "evict.1", Delete: true}, nil},
		{"a document's key that cannot be read", fleetlog.Entry{Key: "doc.elastic"}, []string{"clear"}},
		{"a kind that is not known", fleetlog.Entry{Key: "else"}, []string{"clear"}},
		{"a kind that is not known, taken away", fleetlog.Entry{Key: "evict2.1", Delete: true}, []string{"clear"}},
		{"a note", fleetlog.Entry{Key: "note.x", Value: []byte("?")}, nil},
		{"an eviction with a field that is not known", fleetlog.Entry{Key: "evict.1", Value: []byte(`{"namespace":"elastic","service":"x","names":"*","also":"elastic/fleet-server"}`)}, []string{"clear"}},
		{"an eviction with something behind it", fleetlog.Entry{Key: "evict.1", Value: []byte(`{"namespace":"elastic","service":"x","names":"*"}{}`)}, []string{"clear"}},
		{"a document with a field that is not known", fleetlog.Entry{Key: "doc.elastic.fleet-server.t0", Value: []byte(`{"enabled":true,"unless":"x"}`)}, []string{"clear"}},
		{"a document that cannot be read", fleetlog.Entry{Key: "doc.elastic.fleet-server.t0", Value: []byte(`{`)}, []string{"clear"}},
		{"a document", fleetlog.Entry{Key: "doc.elastic.fleet-server.t0", Value: []byte(`{"enabled":true}`)}, nil},
		{"a document taken away", fleetlog.Entry{Key: "doc.elastic.fleet-server.t0", Delete: true}, nil},
		{"the log's identity", fleetlog.Entry{Key: "meta", Value: []byte(`{"version":1,"log":"x","lease_ns":15000000000}`)}, []string{"lapse", "clear", "clear", "lease"}},
		{"the node's heartbeat", fleetlog.Entry{Key: "node.a1.1", Value: []byte(`{}`)}, []string{"lapse", "clear", "clear", "lease"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, a, _ := pair(t)
				if _, err := log.Connect().Append(t.Context(), tt.entry); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if diff := cmp.Diff(tt.want, a.caches.take()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestCloseLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		b.Close()
		b.Close()
		if diff := cmp.Diff([]string{"lapse", "clear"}, b.caches.take()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		report, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0")
		if err != nil || report.Duration > 0 || len(report.Nodes) != 0 {
			t.Errorf("got %+v, %v; want an eviction that waits for nobody", report, err)
		}
		if _, err := b.Evict(t.Context(), "elastic", "fleet-server", "t0"); !errors.Is(err, tokencache.ErrClosed) {
			t.Errorf("a closed node evicts with error %v", err)
		}
		if err := b.Ready(t.Context()); !errors.Is(err, tokencache.ErrClosed) {
			t.Errorf("a closed node serves with error %v", err)
		}
	})
}

// TestCloseEndsEvictions: a caller that waits for an eviction learns that the node was
// closed, and gets no error of a context that is not its own.
func TestCloseEndsEvictions(t *testing.T) {
	for name, cut := range map[string]func(log *fleettest.Log, b *station){
		"not appended":  func(log *fleettest.Log, _ *station) { log.Stop() },
		"not confirmed": func(_ *fleettest.Log, b *station) { b.conn.Cut(true, true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, a, b := pair(t)
				cut(log, b)
				done := make(chan error)
				go func() {
					_, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0")
					done <- err
				}()
				synctest.Wait()
				a.Close()
				err := <-done
				if unconfirmed := new(*fleet.UnconfirmedError); !errors.As(err, unconfirmed) || !errors.Is(err, tokencache.ErrClosed) {
					t.Errorf("got %v, want an UnconfirmedError that wraps ErrClosed", err)
				}
				log.Start()
			})
		})
	}
}

// TestCloseBetweenSessions: a node that is closed while it waits to join anew leaves, too.
func TestCloseBetweenSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		key := "node." + b.Status().ID + ".1"
		if _, err := a.conn.Append(t.Context(), fleetlog.Entry{Key: key, ID: "another", Value: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if b.Status().Serving {
			t.Fatal("it serves, although somebody else wrote its heartbeat")
		}
		b.Close()
		report, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0")
		if err != nil || report.Duration > 0 || len(report.Nodes) != 0 {
			t.Errorf("got %+v, %v; want an eviction that waits for nobody", report, err)
		}
	})
}

func TestSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t)
		a.clock.asleep.Add(int64(10 * time.Millisecond)) // two readings of the clocks differ by less
		time.Sleep(simLease / 50)
		if calls := a.caches.take(); len(calls) > 0 {
			t.Errorf("after a moment the caches were told %q", calls)
		}
		a.clock.asleep.Add(int64(time.Minute))
		a.clock.back.Add(int64(time.Minute)) // its monotonic clock stood still, and shows the same time
		time.Sleep(simLease / 50)
		if diff := cmp.Diff([]string{"lapse", "clear"}, append(a.caches.take(), "", "")[:2]); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestAllow: the wait by a fast clock outlasts a lease by a slow one.
func TestAllow(t *testing.T) {
	const drift = 1e-3
	for _, lease := range []time.Duration{time.Second, 15 * time.Second, time.Hour} {
		lasts := float64(lease) / (1 - drift)
		waits := float64(fleet.Allow(lease)) / (1 + drift)
		if waits < lasts || waits > lasts*1.0001 {
			t.Errorf("a lease of %v lasts %v, and the wait %v", lease, time.Duration(lasts), time.Duration(waits))
		}
	}
}

func TestConfig(t *testing.T) {
	_, err := fleet.NewWith(fleettest.NewLog().Connect(), &recorder{}, fleet.Config{Lease: time.Millisecond})
	if want := "fleet: Config.Lease: 1ms is less than 100ms"; err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

func TestIndex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		ctx, id := t.Context(), account.TokenID("t0")
		token, err := a.Index().Create(ctx, id, "operator")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Index().Create(ctx, id, "operator"); !errors.Is(err, tokencache.ErrExists) || !strings.HasSuffix(err.Error(), ": elastic/fleet-server/t0") {
			t.Errorf("created twice: %v", err)
		}
		doc, ok, err := b.Index().Get(ctx, id)
		if err != nil || !ok || !doc.Hash.Verify(token.Secret()) || doc.Creator != "operator" || !doc.Enabled {
			t.Errorf("got %+v, %v, %v", doc, ok, err)
		}
		if err := b.Index().SetEnabled(ctx, id, false); err != nil {
			t.Errorf("disable: %v", err)
		}
		if docs, err := a.Index().List(ctx, account); err != nil || len(docs) != 1 || docs[0].Enabled {
			t.Errorf("list: %+v, %v", docs, err)
		}
		for i, want := range []error{nil, tokencache.ErrNotFound} {
			if err := a.Index().Delete(ctx, id); !errors.Is(err, want) || want != nil && !strings.HasSuffix(err.Error(), ": elastic/fleet-server/t0") {
				t.Errorf("delete %d: %v, want %v", i, err, want)
			}
		}
		if _, ok, err := b.Index().Get(ctx, id); ok || err != nil {
			t.Errorf("get a deleted token: %v, %v", ok, err)
		}
		if _, err := a.Index().Create(ctx, id, "operator"); err != nil {
			t.Errorf("create a deleted token: %v", err)
		}
	})
}

// TestReadsEndWithTheSession: a caller that waits for a document of a node that is cut
// off gets an error when the lease has run out, and no later.
func TestReadsEndWithTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t)
		until := a.Status().Until
		a.conn.Cut(true, true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, _, err := a.Index().Get(ctx, account.TokenID("t0")); !errors.Is(err, fleet.ErrNotServing) {
			t.Errorf("got %v", err)
		}
		if late := time.Since(until); late < 0 || late > time.Millisecond {
			t.Errorf("the read ended %v after the lease", late)
		}
		if _, _, err := a.Index().Get(ctx, account.TokenID("t0")); !errors.Is(err, fleet.ErrNotServing) {
			t.Errorf("without a session: %v", err)
		}
		a.conn.Heal()
	})
}

// A stuck log ignores its context while it opens a follower, as a client does while it
// reconnects.
type stuck struct {
	*fleettest.Conn
	hold atomic.Pointer[chan struct{}] // nil: it is not stuck
}

func (e *stuck) Follow(ctx context.Context, from fleetlog.Position) (fleetlog.Follower, error) {
	if hold := e.hold.Load(); hold != nil {
		<-*hold
	}
	return e.Conn.Follow(ctx, from)
}

// TestSessionEndsBesideAStuckLog: a session ends when its lease does, whatever the
// log is busy with.
func TestSessionEndsBesideAStuckLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caches, e := &recorder{}, &stuck{Conn: fleettest.NewLog().Connect()}
		node, err := fleet.NewWith(e, caches, fleet.Config{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		if err := node.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		hold := make(chan struct{})
		e.hold.Store(&hold)
		e.Break() // and the follower is opened anew
		e.Cut(true, true)
		caches.take()
		until := node.Status().Until
		time.Sleep(time.Until(until) + time.Millisecond)
		if diff := cmp.Diff([]string{"lapse", "clear"}, caches.take()); diff != "" || node.Status().Serving {
			t.Errorf("when the lease has run out (-want +got):\n%s", diff)
		}
		e.Heal()
		e.hold.Store(nil)
		close(hold)
		if err := node.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestDeletedDocumentGoes: the log does not keep the record of a deletion for ever.
func TestDeletedDocumentGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, _ := pair(t)
		x, id := a.Index(), account.TokenID("t0")
		if err := x.Put(t.Context(), indexsource.Document{Token: id, Enabled: true, Hash: aHash}); err != nil {
			t.Fatal(err)
		}
		if err := x.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		key := "doc.elastic.fleet-server.t0"
		time.Sleep(59 * time.Minute)
		if view, err := a.conn.Read(t.Context(), key, "meta"); err != nil || !view.Messages[key].Deleted {
			t.Errorf("within an hour: %+v, %v", view, err)
		}
		time.Sleep(2 * time.Minute)
		if view, err := a.conn.Read(t.Context(), key, "meta"); err != nil || view.Messages[key].Position > 0 {
			t.Errorf("after more than an hour: %+v, %v", view, err)
		}
		if err := x.Put(t.Context(), indexsource.Document{Token: id, Enabled: true, Hash: aHash}); err != nil {
			t.Error(err)
		}
	})
}
