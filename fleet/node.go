package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/tokencache"
)

// caches is what a node keeps in step with the fleet: a *tokencache.Group, and
// something simpler in tests.
type caches interface {
	// Evict and Clear forget, loads in flight included, before they return, and say
	// how many entries went from each cache.
	Evict(ctx context.Context, why tokencache.Cause, sels ...tokencache.Selector) map[string]int
	Clear(ctx context.Context, why tokencache.Cause) map[string]int
	// Lease lets the caches answer until this instant, and not after it: every
	// authentication compares it with a reading of the monotonic clock.
	Lease(until time.Time)
}

// Config holds the options of a [Node]. The zero value is the recommended
// production setting.
type Config struct {
	// Lease is for how long a node may answer without having heard of the log, and
	// so how long an eviction may have to wait for a node that is cut off. It is a
	// property of the log: the first node writes it there, and for all others what
	// is written there counts. Zero: 15 s. Less than 100 ms is an error. Below
	// what the log needs to elect a new leader, each election stops the fleet.
	Lease time.Duration

	// Name is what reports call this node. Empty: the host name.
	Name string

	// Observer is called at each event, from the node's goroutines, one call at a
	// time from each, and delays what it is told of. Nil: nobody is told.
	Observer func(Event)

	clock  clock         // nil: the system's
	newID  func() string // nil: random
	jitter func() float64
}

const (
	defaultLease = 15 * time.Second
	minLease     = 100 * time.Millisecond
)

// A Node is one process's part in a fleet. [New] makes one.
//
// It is safe for concurrent use by multiple goroutines.
type Node struct {
	log    fleetlog.Log
	caches caches
	cfg    Config
	id     string

	address    string // where other nodes' answers come in
	stopListen func()
	ctx        context.Context // ends with Close
	cancel     context.CancelCauseFunc
	running    sync.WaitGroup

	current atomic.Pointer[session] // nil: not serving
	longest atomic.Int64            // lease that a log was seen to have, in nanoseconds

	mu       sync.Mutex         // guards the fields below
	changes  map[string]*change // that wait for answers, by ID
	fence    fence              // the own heartbeat that came by last
	serving  chan struct{}      // closed while serving
	watchers map[*watcher]struct{}
	heard    map[string]Member // by process
	stopped  error             // why the last session ended
	closed   bool
}

// ErrNotServing is wrapped by the error of what needs a session while there is none.
var ErrNotServing = errors.New("fleet: this node does not serve at present")

// ErrClosed is the error of what needs a node that was closed.
var ErrClosed = errors.New("fleet: the node is closed")

// New starts a node, which keeps the caches in step with the log until Close. It
// returns at once: until the node has joined, and whenever it may have missed
// something, the caches answer with errors. Ready waits for the node to serve.
// The error is for a Config.Lease that is too short, or the log's, which
// could not listen for answers.
func New(log fleetlog.Log, group *tokencache.Group, cfg Config) (*Node, error) {
	return newNode(log, group, cfg)
}

func newNode(log fleetlog.Log, caches caches, cfg Config) (*Node, error) {
	if cfg.Lease == 0 {
		cfg.Lease = defaultLease
	}
	if cfg.Lease < minLease {
		return nil, fmt.Errorf("fleet: Config.Lease: %v is less than %v", cfg.Lease, minLease)
	}
	if cfg.Name == "" {
		cfg.Name, _ = os.Hostname()
	}
	if cfg.clock == nil {
		cfg.clock = systemClock{}
	}
	if cfg.newID == nil {
		cfg.newID = newID
	}
	if cfg.jitter == nil {
		cfg.jitter = rand.Float64
	}
	n := &Node{log: log, caches: caches, cfg: cfg, id: cfg.newID(),
		changes: make(map[string]*change), serving: make(chan struct{}), watchers: make(map[*watcher]struct{}), heard: make(map[string]Member)}
	caches.Lease(cfg.clock.Now()) // nothing is answered before the first session
	address, stop, err := log.Listen(n.answered)
	if err != nil {
		return nil, fmt.Errorf("fleet: listen for answers: %w", err)
	}
	n.address, n.stopListen = address, stop
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.running.Go(n.run)
	return n, nil
}

// Close leaves the fleet: the caches answer no more, the other nodes need not wait
// for this one, and whoever waits for an eviction gets an error. It waits for the
// node's goroutines, a second at most for the log.
func (n *Node) Close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.cancel(ErrClosed)
	n.running.Wait()
	n.stopListen()
}

// Ready waits until the node serves. The error is the context's, with the reason
// why the node does not serve, or [ErrClosed].
func (n *Node) Ready(ctx context.Context) error {
	n.mu.Lock()
	serving := n.serving
	n.mu.Unlock()
	select {
	case <-serving:
		return nil
	case <-n.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.stopped != nil {
			return fmt.Errorf("%w: %w: %w", ErrNotServing, context.Cause(ctx), n.stopped)
		}
		return fmt.Errorf("%w: %w", ErrNotServing, context.Cause(ctx))
	}
}

// A Status is how a node stands.
type Status struct {
	ID, Name string
	Address  string            // where the other nodes send their answers
	Serving  bool              // whether it has a session; its lease may have run out all the same
	Until    time.Time         // until when it may answer
	Lease    time.Duration     // the log's: how long a heartbeat lets a node answer
	Applied  fleetlog.Position // up to which it has applied the log
	Log      string            // the log's identity
}

// Status returns how this node stands.
func (n *Node) Status() Status {
	st := Status{ID: n.id, Name: n.cfg.Name, Address: n.address}
	if s := n.current.Load(); s != nil {
		st.Serving, st.Applied, st.Log = true, fleetlog.Position(s.applied.Load()), s.meta.Log
		st.Until, st.Lease = *s.until.Load(), s.meta.Lease
	}
	return st
}

// run has one session after the other.
func (n *Node) run() {
	ended := n.cfg.clock.Now()
	for number := 1; ; number++ {
		s := newSession(n, sessionID{n.id, number}, ended)
		err := s.run(n.ctx)
		if n.ctx.Err() != nil {
			s.leave()
			return
		}
		if s.began {
			n.tell(Event{Kind: EventStopped, Position: fleetlog.Position(s.applied.Load()), Err: err})
			ended = n.cfg.clock.Now()
		} else {
			n.tell(Event{Kind: EventJoinFailed, Err: err})
		}
		n.mu.Lock()
		n.stopped = err
		n.mu.Unlock()
		if n.sleep(n.ctx, n.backoff(n.cfg.Lease/50)) != nil {
			s.leave()
			return
		}
	}
}

// backoff returns between half and one and a half of d: nodes that failed together
// must not come back together.
func (n *Node) backoff(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.5 + n.cfg.jitter()))
}

// sleep waits for d by the node's clock.
func (n *Node) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(n.cfg.clock.Real(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// append appends, and tries again until the outcome is known. Each attempt has the
// entry's ID, so that at most one is written.
func (n *Node) append(ctx context.Context, entry fleetlog.Entry) (fleetlog.Position, error) {
	patience := max(n.cfg.Lease/5, 100*time.Millisecond)
	for {
		attempt, cancel := context.WithTimeout(ctx, n.cfg.clock.Real(patience))
		pos, err := n.log.Append(attempt, entry)
		cancel()
		if err == nil || errors.Is(err, fleetlog.ErrConflict) {
			return pos, err
		}
		if n.sleep(ctx, n.backoff(n.cfg.Lease/50)) != nil {
			return 0, errors.Join(context.Cause(ctx), err)
		}
	}
}

// read reads a view that valid accepts, and tries again until it has one.
func (n *Node) read(ctx context.Context, valid func(fleetlog.View) error, keys ...string) (fleetlog.View, error) {
	patience := max(n.cfg.Lease/5, 100*time.Millisecond)
	wait := n.cfg.Lease / 1000
	for {
		attempt, cancel := context.WithTimeout(ctx, n.cfg.clock.Real(patience))
		view, err := n.log.Read(attempt, keys...)
		cancel()
		if err == nil {
			err = valid(view)
		}
		if err == nil || errors.Is(err, errLog) {
			return view, err
		}
		if n.sleep(ctx, n.backoff(wait)) != nil {
			return fleetlog.View{}, errors.Join(context.Cause(ctx), err)
		}
		wait = min(2*wait, n.cfg.Lease/20)
	}
}
