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

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// TestIdentityIsWrittenOnce: nodes that begin a log at the same time agree on its
// identity. A node whose attempt is refused, or may have been written, reads the identity
// again.
func TestIdentityIsWrittenOnce(t *testing.T) {
	unfit := fmt.Errorf("too large: %w", fleetlog.ErrUnfit)
	for name, fails := range map[string]error{"another was first": fleetlog.ErrConflict, "its answer is lost": errDisk, "it does not fit": unfit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := fleettest.NewLog()
				f := &failing{Conn: log.Connect()}
				var once atomic.Bool
				fail := func(e fleetlog.Entry) error {
					if e.Key == "meta" && once.CompareAndSwap(false, true) {
						return fails
					}
					return nil
				}
				if errors.Is(fails, errDisk) {
					f.answers.Store(&fail)
				} else {
					f.appends.Store(&fail)
				}
				var failed atomic.Int64
				node, err := fleet.NewWith(f, &recorder{}, fleet.Config{Observer: func(e fleet.Event) {
					if e.Kind == fleet.EventJoinFailed {
						if !errors.Is(e.Err, fails) || !strings.HasPrefix(e.Err.Error(), "fleet: join: ") {
							t.Errorf("it did not join: %v", e.Err)
						}
						failed.Add(1)
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer node.Close()
				if err := node.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
				if want := map[bool]int64{true: 1}[errors.Is(fails, unfit)]; failed.Load() != want {
					t.Errorf("it did not join %d times, want %d", failed.Load(), want)
				}
				identities := make(map[string]bool)
				for _, history := range log.Histories() {
					for _, m := range history {
						if m.Key == "meta" {
							identities[m.ID] = true
						}
					}
				}
				if len(identities) != 1 {
					t.Errorf("the log has had %d identities", len(identities))
				}
			})
		})
	}
}

// TestJoinBesideALaggingReplica: a node does not believe a replica that lacks the node's
// own heartbeat, nor one of an earlier log.
func TestJoinBesideALaggingReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, b := pair(t)
		identity := a.Status().Log
		a.Close()
		b.Close()
		log.Recreate()
		old := start(t, log, "c", func(s *station) { s.past.Store(1) })
		time.Sleep(simLease / 2)
		if st := old.Status(); st.Serving {
			t.Errorf("it serves log %s, which it has from a log that has gone", st.Log)
		}
		old.past.Store(0)
		if err := old.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := old.Status().Log; got == identity {
			t.Errorf("it has joined log %s, which has gone", got)
		}
		late := start(t, log, "d", func(s *station) { s.behind.Store(1000) })
		time.Sleep(simLease / 2)
		if late.Status().Serving {
			t.Error("it serves by the word of a replica that knows nothing")
		}
		late.behind.Store(0)
		if err := late.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

// TestWrongLogIsLeft: no change waits for a node that may not join the log, and the node
// tries again twice a lease.
func TestWrongLogIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, _ := pair(t)
		var tries atomic.Int64
		node, err := fleet.NewWith(log.Connect(), &recorder{}, fleet.Config{Name: "c", Log: "another", Observer: func(e fleet.Event) {
			if e.Kind == fleet.EventJoinFailed {
				tries.Add(1)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		report, err := a.Evict(t.Context(), "elastic", "fleet-server", "t0")
		if err != nil || len(report.Nodes) != 1 || time.Since(began) > 0 {
			t.Errorf("an eviction: %+v, %v after %v", report.Nodes, err, time.Since(began))
		}
		time.Sleep(5 * simLease)
		if n := tries.Load(); n < 6 || n > 21 {
			t.Errorf("in five leases it tried %d times", n)
		}
		if st := node.Status(); st.Err == nil || st.Serving {
			t.Errorf("got %+v", st)
		}
		node.Close()
	})
}

// slowly delays each message that the log delivers to the station.
func (s *station) slowly(deliver time.Duration) {
	s.setDelay(func(what string) time.Duration {
		if what == "deliver" {
			return deliver
		}
		return 0
	})
}

// TestLaterChangesOfTheKey: another change has taken the key of a change before a node has
// applied it. Both are in force when they return.
func TestLaterChangesOfTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		doc := indexsource.Document{Token: account.TokenID("t0"), Enabled: true, Hash: aHash}
		a.slowly(100 * time.Millisecond)
		errs := make(chan error)
		for _, s := range []*station{a, b} {
			go func() { errs <- s.Index().Put(t.Context(), doc) }()
		}
		for range 2 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		a.setDelay(func(string) time.Duration { return 0 })
	})
}

// TestKeyTakenBeforeDelivery: while the log delivers something else, a change's key is
// taken, so that no follower is ever given the change. It is still in force when it
// returns, and it returns when the membership has been read again.
func TestKeyTakenBeforeDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		put := func(s *station, name string) chan error {
			done := make(chan error, 1)
			go func() {
				done <- s.Index().Put(t.Context(), indexsource.Document{Token: account.TokenID(name), Enabled: true, Hash: aHash})
			}()
			synctest.Wait()
			return done
		}
		for _, s := range []*station{a, b} {
			s.slowly(100 * time.Millisecond)
		}
		began := time.Now()
		first, taken, taking := put(a, "other"), put(a, "t0"), put(b, "t0")
		time.Sleep(5 * time.Second) // a third of a lease
		for name, done := range map[string]chan error{"other": first, "taken": taken, "taking": taking} {
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			default:
				t.Errorf("%s has not returned after %v", name, time.Since(began))
			}
		}
		for name, s := range map[string]*station{"a": a, "b": b} {
			if calls := s.caches.take(); !slices.Contains(calls, "evict elastic/fleet-server/t0 (node)") {
				t.Errorf("%s has not evicted the token: %q", name, calls)
			}
			s.setDelay(func(string) time.Duration { return 0 })
		}
	})
}

// TestKeyTakenInAnotherLog: this node has applied a change in a log that was replaced, and
// in the new one the change's key is another's. Nobody has the change.
func TestKeyTakenInAnotherLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, b := pair(t)
		doc := indexsource.Document{Token: account.TokenID("t0"), Enabled: true, Hash: aHash}
		b.conn.Cut(true, true)
		done := make(chan error, 1)
		go func() { done <- a.Index().Put(t.Context(), doc) }()
		synctest.Wait()
		log.Recreate()
		filler := log.Connect()
		for range 100 { // positions that the change's log has not reached
			if _, err := filler.Append(t.Context(), fleetlog.Entry{Key: "note.filler"}); err != nil {
				t.Fatal(err)
			}
		}
		b.conn.Heal()
		time.Sleep(time.Second)
		if err := b.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		go b.Index().Put(t.Context(), doc)
		var unconfirmed *fleet.UnconfirmedError
		if err := <-done; !errors.As(err, &unconfirmed) || !strings.Contains(err.Error(), "the log does not have the change any more") {
			t.Errorf("got %v", err)
		}
	})
}

// TestJoinOverTwoLogs: the answer to a node's first heartbeat is lost, the log is made
// anew, and the heartbeat is sent again, so that both logs have it. A replica of the first
// log then answers the node's reads: not with what that log had.
func TestJoinOverTwoLogs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := fleettest.NewLog()
		filler := log.Connect()
		for range 200 { // positions that the second log does not reach
			if _, err := filler.Append(t.Context(), fleetlog.Entry{Key: "note.filler"}); err != nil {
				t.Fatal(err)
			}
		}
		a := start(t, log, "a", func(a *station) { a.conn.Cut(false, true) })
		time.Sleep(time.Second)
		log.Recreate()
		b := start(t, log, "b")
		if err := b.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		go b.Index().Put(t.Context(), indexsource.Document{Token: account.TokenID("t0"), Enabled: true, Hash: aHash}) // for a lease
		time.Sleep(5 * time.Second)
		a.conn.Heal()
		if err := a.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.past.Store(1)
		if doc, found, err := a.Index().Get(t.Context(), account.TokenID("t0")); err == nil && !found {
			t.Errorf("got %+v, %v: the first log's", doc, found)
		}
	})
}

// TestUsesMeetErrors: the caller gets the log's error for a use, except a conflict with
// another node's use.
func TestUsesMeetErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, node, b, _ := failingNode(t, fleet.Config{})
		ctx, id := t.Context(), account.TokenID("t0")
		at := func(s int64) map[tokencache.TokenID]time.Time {
			return map[tokencache.TokenID]time.Time{id: time.Unix(s, 0)}
		}
		var meddled atomic.Bool
		meddle := func(e fleetlog.Entry) error {
			if strings.HasPrefix(e.Key, "note.used.") && meddled.CompareAndSwap(false, true) {
				return b.Index().NoteUses(ctx, at(50))
			}
			return nil
		}
		f.appends.Store(&meddle) // another node's use is noted before this one
		if err := node.Index().NoteUses(ctx, at(60)); err != nil {
			t.Error(err)
		}
		f.appends.Store(nil)
		var lost atomic.Bool
		lose := func(e fleetlog.Entry) error {
			if lost.CompareAndSwap(false, true) {
				conflict := func(fleetlog.Entry) error { f.appends.Store(nil); return fleetlog.ErrConflict }
				f.appends.Store(&conflict)
				return errDisk
			}
			return nil
		}
		f.answers.Store(&lose) // it is written, its answer is lost, and the next attempt is refused
		if err := node.Index().NoteUses(ctx, at(70)); err != nil {
			t.Error(err)
		}
		f.answers.Store(nil)
		if uses, err := b.Index().LastUses(ctx, account); err != nil || uses["t0"] != time.Unix(70, 0) {
			t.Errorf("got %v, %v", uses, err)
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		f.failAppends("note.", errDisk)
		if err := node.Index().NoteUses(short, at(80)); !errors.Is(err, errDisk) {
			t.Errorf("a log that does not append: %v", err)
		}
		f.failAppends("note.", fleetlog.ErrUnfit)
		if err := node.Index().NoteUses(ctx, at(80)); !errors.Is(err, fleetlog.ErrUnfit) {
			t.Errorf("a log that cannot append it: %v", err)
		}
		f.failReads("note.", fleetlog.ErrUnfit)
		if err := node.Index().NoteUses(ctx, at(80)); !errors.Is(err, fleetlog.ErrUnfit) {
			t.Errorf("a log that cannot read it: %v", err)
		}
		if _, err := node.Index().LastUses(ctx, account); !errors.Is(err, fleetlog.ErrUnfit) {
			t.Errorf("last uses: %v", err)
		}
	})
}
