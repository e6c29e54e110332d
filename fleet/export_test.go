package fleet

import (
	"context"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/tokencache"
)

// Caches is the interface of what replaces a group in tests.
type Caches = caches

// NewWith is New with other caches than a group.
func NewWith(log fleetlog.Log, caches Caches, cfg Config) (*Node, error) {
	return newNode(log, caches, cfg)
}

// Clock is the interface of a test's clock.
type Clock = clock

// WithTest replaces the system's clock and random values.
func (c Config) WithTest(clock Clock, newID func() string, jitter func() float64) Config {
	c.clock, c.newID, c.jitter = clock, newID, jitter
	return c
}

// Allow returns how long to wait for a lease.
func Allow(d time.Duration) time.Duration { return allow(d) }

// WithVersion makes a node one of a later version.
func (c Config) WithVersion(v int) Config {
	c.version = v
	return c
}

// SpreadLater appends a record of a kind that no version knows yet, and waits until it is
// in force on every node.
func (n *Node) SpreadLater(ctx context.Context) error {
	n.caches.Clear(ctx, tokencache.CauseAsked)
	id := n.cfg.newID()
	_, err := n.spread(ctx, fleetlog.Entry{Key: "later." + id, ID: id, Value: marshal(evictionRecord{Answer: n.address})})
	return err
}
