package faults_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/tokencache"
)

// lease is long enough for a machine that is busy.
const lease = 3 * time.Second

// A node is a host in a fleet, and what can be done to its log.
type node struct {
	*host
	log  *fleettest.Log
	conn *fleettest.Conn
	full *fullLog

	slow     atomic.Bool  // whether the log is
	requests atomic.Int32 // since it is
}

// newNode returns a node that has joined a log, and that callers use.
func newNode(t *testing.T, log *fleettest.Log, lease time.Duration) *node {
	n := &node{host: newHost(t, "", tokencache.GroupConfig{}), log: log, conn: log.Connect()}
	n.conn.Delay = n.delay
	n.full = &fullLog{Log: n.conn}
	member, err := fleet.New(n.full, n.group, fleet.Config{Lease: lease, Name: "node1", Observer: n.observeFleet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(member.Close)
	cache(n.host, "source", &n.src, cached)
	n.metrics.WatchFleet("", member)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := member.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	n.fill(20, 0)
	n.serve()
	return n
}

// fleetOf is a fault of the fleet's log.
func fleetOf(strike func(n *node)) func(*testing.T) (*host, func()) {
	return func(t *testing.T) (*host, func()) {
		log := fleettest.NewLog()
		n := newNode(t, log, lease)
		log.Settle()
		return n.host, func() { strike(n) }
	}
}

// longLease leaves seconds of a lease that is renewed late, on a machine that is busy too.
const longLease = 4 * lease

// slowLog is a log that takes longer than a node waits for every second answer, and a good
// part of that for the others: three to six tenths of the lease are over when it is renewed.
func slowLog(t *testing.T) (*host, func()) {
	log := fleettest.NewLog()
	n := newNode(t, log, longLease)
	log.Settle()
	return n.host, func() { n.slow.Store(true) }
}

// delay is how long a message is on its way.
func (n *node) delay(what string) time.Duration {
	const patience = longLease / 5 // how long the node waits for an answer
	switch {
	case what != "request" || !n.slow.Load():
		return 0
	case n.requests.Add(1)%2 == 1:
		return 2 * patience
	default:
		return patience * 2 / 5
	}
}

// otherLease is a node that is configured with another lease than the log's first node,
// which decides.
func otherLease(t *testing.T) (*host, func()) {
	log := fleettest.NewLog()
	newNode(t, log, lease)
	log.Settle()
	return newNode(t, log, 3*lease).host, func() {}
}

// A fullLog is a log that can be full.
type fullLog struct {
	fleetlog.Log
	full atomic.Bool
}

var errFull = errors.New("maximum bytes exceeded")

func (l *fullLog) Append(ctx context.Context, entry fleetlog.Entry) (fleetlog.Position, error) {
	if l.full.Load() {
		return 0, errFull
	}
	return l.Log.Append(ctx, entry)
}
