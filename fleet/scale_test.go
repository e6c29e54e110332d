package fleet_test

import (
	"context"
	"flag"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleettest"
)

var many = flag.Int("nodes", 20, "how many nodes TestManyNodes has; 1000 take some minutes and 2 GB")

// A traffic counts what passes between nodes and their log.
type traffic struct{ appends, delivered, reads, letters, bytes atomic.Int64 }

func (c *traffic) String() string {
	return fmt.Sprintf("%d appends, %d deliveries, %d reads, %d letters, %d bytes to the nodes",
		c.appends.Load(), c.delivered.Load(), c.reads.Load(), c.letters.Load(), c.bytes.Load())
}

func (c *traffic) reset() {
	for _, n := range []*atomic.Int64{&c.appends, &c.delivered, &c.reads, &c.letters, &c.bytes} {
		n.Store(0)
	}
}

// A counted log counts what passes, keys and values alone, and answers for 1 024 keys at
// once, as NATS does.
type counted struct {
	*fleettest.Conn
	count *traffic
}

func (c counted) Append(ctx context.Context, e fleetlog.Entry) (fleetlog.Position, error) {
	c.count.appends.Add(1)
	return c.Conn.Append(ctx, e)
}

func (c counted) Read(ctx context.Context, keys ...string) (fleetlog.View, error) {
	v, err := c.Conn.Read(ctx, keys...)
	c.count.reads.Add(1)
	if len(v.Messages) > 1024 {
		return fleetlog.View{}, fleetlog.ErrUnfit
	}
	for _, m := range v.Messages {
		c.count.bytes.Add(int64(len(m.Key) + len(m.Value)))
	}
	return v, err
}

func (c counted) Send(address string, data []byte) {
	c.count.letters.Add(1)
	c.count.bytes.Add(int64(len(data)))
	c.Conn.Send(address, data)
}

func (c counted) Follow(ctx context.Context, from fleetlog.Position) (fleetlog.Follower, error) {
	f, err := c.Conn.Follow(ctx, from)
	return countedFollower{f, c.count}, err
}

type countedFollower struct {
	fleetlog.Follower
	count *traffic
}

func (f countedFollower) Next(ctx context.Context) (fleetlog.Message, error) {
	m, err := f.Follower.Next(ctx)
	if err == nil {
		f.count.delivered.Add(1)
		f.count.bytes.Add(int64(len(m.Key) + len(m.Value)))
	}
	return m, err
}

// TestManyNodes counts what a fleet costs, as docs/fleet-proof.md has it:
//
//	go test ./fleet -run TestManyNodes -nodes 1000 -v -timeout 60m
func TestManyNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, count, n := fleettest.NewLog(), new(traffic), int64(*many)
		nodes := make([]*fleet.Node, n)
		join := func(i int) {
			node, err := fleet.NewWith(counted{log.Connect(), count}, &recorder{}, fleet.Config{Name: fmt.Sprint("node", i)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(node.Close)
			nodes[i] = node
		}
		for i := range nodes {
			join(i)
			time.Sleep(simLease / 5 / time.Duration(n)) // they renew one after the other
		}
		for _, node := range nodes {
			if err := node.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%d nodes joined: %v", n, count)
		if reads := count.reads.Load(); reads > 3*n {
			t.Errorf("%d nodes made %d reads to join", n, reads)
		}
		log.Settle()
		synctest.Wait()
		count.reset()
		time.Sleep(simLease)
		t.Logf("a lease: %v", count)
		if got, want := count.delivered.Load(), 5*n*n; got < want*9/10 || got > want*12/10 {
			t.Errorf("in a lease %d messages were delivered, want about %d", got, want)
		}
		if count.reads.Load() > 0 || count.letters.Load() > 0 {
			t.Errorf("a fleet at rest: %v", count)
		}
		time.Sleep(simLease / 5 / time.Duration(2*n)) // between two renewals
		synctest.Wait()
		count.reset()
		began := time.Now()
		report, err := nodes[0].Evict(t.Context(), "elastic", "fleet-server", "t0")
		if err != nil || int64(len(report.Nodes)) != n-1 {
			t.Errorf("an eviction: %d nodes in the report, %v", len(report.Nodes), err)
		}
		t.Logf("an eviction, after %v: %v", time.Since(began), count)
		if n < 1022 && (time.Since(began) > 0 || count.delivered.Load() != n || count.letters.Load() != n-1 || count.reads.Load() != 1) {
			t.Errorf("an eviction took %v: %v", time.Since(began), count)
		}
	})
}
