package fleet_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleettest"
)

// startLease starts a node that is configured with a lease.
func startLease(t *testing.T, log *fleettest.Log, name string, lease time.Duration) *station {
	t.Helper()
	s := &station{conn: log.Connect(), caches: &recorder{}}
	node, err := fleet.NewWith(s.conn, s.caches, fleet.Config{Name: name, Lease: lease})
	if err != nil {
		t.Fatal(err)
	}
	s.Node = node
	t.Cleanup(node.Close)
	return s
}

// longLease starts a node in a log whose lease is longer than that of other nodes, and
// which is old enough.
func longLease(t *testing.T) (log *fleettest.Log, a *station, lease time.Duration) {
	t.Helper()
	log, lease = fleettest.NewLog(), 2*time.Minute
	a = startLease(t, log, "a", lease)
	if err := a.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * lease)
	return log, a, lease
}

// TestLogsLeaseIsLonger: a node that is configured with less than the log's lease is cut
// off right after it joined. Changes wait for it as long as it serves, even on a node
// that knows it from the log alone.
func TestLogsLeaseIsLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, lease := longLease(t)
		b := startLease(t, log, "b", 0)
		if err := b.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.conn.Cut(true, true)
		time.Sleep(lease / 2)
		c := startLease(t, log, "c", 0)
		if err := c.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Evict(t.Context(), "elastic", "fleet-server", "t0"); err != nil {
			t.Fatal(err)
		}
		if b.caches.serves() {
			t.Errorf("an eviction has returned, and a node that has not heard of it serves until %v later", time.Until(b.Status().Until))
		}
	})
}

// TestEvictionOutlivesTheLease: a node that is configured with less than the log's lease,
// and has not joined yet, evicts. The log still has the eviction when a slow node gets to
// it.
func TestEvictionOutlivesTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, a, lease := longLease(t)
		a.conn.Cut(false, true)
		if _, err := log.Connect().Append(t.Context(), fleetlog.Entry{Key: "note.held"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it is on its way to a, and everything later waits behind it
		log.Stop()
		b := startLease(t, log, "b", 0)
		done := make(chan error)
		go func() {
			_, err := b.Evict(t.Context(), "elastic", "fleet-server", "t0")
			done <- err
		}()
		synctest.Wait() // it waits for the log, as b's first heartbeat does
		log.Start()
		synctest.Wait() // b has learned which nodes serve
		b.conn.Cut(true, true)
		time.Sleep(lease / 2)
		a.caches.take()
		a.conn.Break()
		a.conn.Heal()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		calls := a.caches.take()
		evicted := slices.Contains(calls, "evict elastic/fleet-server/t0 (node)") || slices.Contains(calls, "clear")
		if a.caches.serves() && !evicted {
			t.Errorf("an eviction has returned, and a node that serves has done %q", calls)
		}
	})
}

// While it is set, an unsure log writes messages and never acknowledges them.
type unsure struct {
	*fleettest.Conn
	set atomic.Bool
}

func (u *unsure) Append(ctx context.Context, entry fleetlog.Entry) (fleetlog.Position, error) {
	pos, err := u.Conn.Append(ctx, entry)
	if u.set.Load() {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return pos, err
}

// TestHeartbeatIsNotAcknowledged: a heartbeat that is delivered but not acknowledged
// proves nothing, as on a primary that has lost its standby.
func TestHeartbeatIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, caches := &unsure{Conn: fleettest.NewLog().Connect()}, &recorder{}
		node, err := fleet.NewWith(log, caches, fleet.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		if err := node.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(simLease)
		log.set.Store(true)
		time.Sleep(simLease + time.Second)
		if caches.serves() {
			t.Errorf("it serves until %v later", time.Until(node.Status().Until))
		}
		log.set.Store(false)
		if err := node.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}
