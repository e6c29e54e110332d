package fleet

import (
	"context"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/tokencache"
)

// Caches is what stands in for a group in tests.
type Caches = caches

// NewWith is New with something else than a group.
func NewWith(log fleetlog.Log, caches Caches, cfg Config) (*Node, error) {
	return newNode(log, caches, cfg)
}

// Clock is a clock that a test makes.
type Clock = clock

// WithTest sets what a test decides instead of the system.
func (c Config) WithTest(clock Clock, newID func() string, jitter func() float64) Config {
	c.clock, c.newID, c.jitter = clock, newID, jitter
	return c
}

// Allow is how long to wait for a lease.
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
