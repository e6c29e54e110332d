package natstest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetnats"
	"github.com/svctoken/svctoken/fleet/fleetnats/natstest"
	"github.com/svctoken/svctoken/fleet/fleettest"
)

func cluster(t testing.TB, n int) *natstest.Cluster {
	t.Helper()
	c, err := natstest.Start(t.TempDir(), n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// A link is a log, and the proxy between it and the servers.
type link struct {
	*fleetnats.Log
	nc    *nats.Conn
	proxy *natstest.Proxy
}

// connect connects a log to server i first, through a proxy of its own.
func connect(t testing.TB, c *natstest.Cluster, i, replicas int, bucket string) *link {
	t.Helper()
	proxy, err := natstest.NewProxy(func() []string {
		var targets []string
		for j := range c.Len() {
			targets = append(targets, c.Address((i+j)%c.Len()))
		}
		return targets
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Close)
	nc, err := nats.Connect(proxy.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectJitter(50*time.Millisecond, 0),
		nats.RetryOnFailedConnect(true), nats.PingInterval(2*time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, err := fleetnats.Open(ctx, nc, fleetnats.Config{Replicas: replicas, Bucket: bucket})
	if err != nil {
		t.Fatal(err)
	}
	return &link{e, nc, proxy}
}

// TestSuite runs the kit on one server, and on three.
func TestSuite(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d servers", n), func(t *testing.T) {
			fleettest.Suite(t, func(t *testing.T) fleettest.Bench { return bench(t, n) })
		})
	}
}

func bench(t *testing.T, n int) fleettest.Bench {
	c := cluster(t, n)
	i := -1
	var mu sync.Mutex
	return fleettest.Bench{
		Connect: func(t *testing.T) fleetlog.Log {
			mu.Lock()
			defer mu.Unlock()
			i++
			return connect(t, c, i%n, n, "test")
		},
		Cut:  func(e fleetlog.Log) { e.(*link).proxy.Cut(true, true) },
		Heal: func(e fleetlog.Log) { e.(*link).proxy.Heal() },
		Restart: func() {
			c.Stop()
			if err := c.StartAll(); err != nil {
				t.Fatal(err)
			}
		},
		Recreate: func() { recreate(t, c, n, "test") },
		RollBack: func(meanwhile func()) { rollBack(t, c, meanwhile) },
	}
}

// recreate deletes the stream and makes it anew.
func recreate(t testing.TB, c *natstest.Cluster, n int, bucket string) {
	t.Helper()
	nc, err := nats.Connect(c.URL(0))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), "KV_"+bucket); err != nil {
		t.Fatal(err)
	}
	if _, err := fleetnats.Open(t.Context(), nc, fleetnats.Config{Replicas: n, Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
}

// rollBack restores a backup of the store that is older than what meanwhile does.
func rollBack(t testing.TB, c *natstest.Cluster, meanwhile func()) {
	t.Helper()
	dir := t.TempDir()
	c.Stop()
	if err := c.Backup(dir); err != nil {
		t.Fatal(err)
	}
	if err := c.StartAll(); err != nil {
		t.Fatal(err)
	}
	meanwhile()
	c.Stop()
	if err := c.Restore(dir); err != nil {
		t.Fatal(err)
	}
	if err := c.StartAll(); err != nil {
		t.Fatal(err)
	}
}
