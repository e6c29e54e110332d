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
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// caches is what a node keeps in step with the fleet: a *tokencache.Group, or something
// simpler in tests.
type caches interface {
	// Evict and Clear forget before they return, loads in flight included, and return how
	// many entries went from each cache.
	Evict(ctx context.Context, why tokencache.Cause, sels ...tokencache.Selector) map[string]int
	Clear(ctx context.Context, why tokencache.Cause) map[string]int
	// Lease lets the caches answer until this instant, and not after it: every
	// authentication compares it with a reading of the monotonic clock.
	Lease(until time.Time)
}

// Config holds the options of a [Node]. The zero value is the recommended
// production setting.
type Config struct {
	// Lease is how long a node may answer without hearing from the log, and so how long
	// an eviction may have to wait for a node that is cut off. It is a property of the
	// log: the first node writes it there, and all others take it from there. Zero: 15 s.
	// Less than 100 ms is an error. With less than the log needs to elect a leader, each
	// election stops the fleet.
	Lease time.Duration

	// Name is this node's name in reports. Empty: the host name.
	Name string

	// Log is the identity that the log must have, as [Status] shows it. The node joins no
	// other log, and no new one. That prevents two logs from being taken for one, for
	// example if a NATS leaf node has a JetStream of its own, or if a database's search
	// path leads to another schema. Empty: any log.
	Log string

	// Nodes is how many nodes share the log at least, this one included. If a change is
	// in force on fewer, it returns an [*UnconfirmedError] that wraps [ErrFewNodes]: the
	// others may share another log. Zero: any number.
	Nodes int

	// Answer answers the questions of [Node.Ask], in the node's goroutines, at most eight
	// at a time. Close waits for it. Nil: this node does not answer.
	Answer func(question string) string

	// Observer is called for each event, from the node's goroutines: several calls may
	// run at once, and each delays its goroutine. Nil: events are dropped.
	Observer func(Event)

	clock   clock         // nil: the system's
	newID   func() string // nil: random
	jitter  func() float64
	version int // zero: version
}

const (
	defaultLease = 15 * time.Second
	minLease     = 100 * time.Millisecond
)

// A Node is one process's part in a fleet. [New] makes one.
//
// It is safe for concurrent use by multiple goroutines.
type Node struct {
	log     fleetlog.Log
	caches  caches
	release func() // gives the group back
	cfg     Config
	id      string

	address    string // to which other nodes send letters
	stopListen func()
	ctx        context.Context // ends with Close
	cancel     context.CancelCauseFunc
	running    sync.WaitGroup
	watchers   indexsource.Watchers // of the documents

	changing sync.Mutex // held while watchers are told of the state, so that each learns the last
	state    indexsource.State

	waits time.Duration // see patient; used by the goroutine of run alone

	current atomic.Pointer[session] // nil: not serving
	longest atomic.Uint64           // lease that a log had so far, in nanoseconds

	mu        sync.Mutex             // guards the fields below
	changes   map[string]*change     // that wait for answers, by ID
	mark      watermark              // the own heartbeat that was delivered last
	serving   chan struct{}          // closed while serving
	since     time.Time              // when serving last changed
	heard     map[string]hearing     // by process
	questions map[string]chan letter // that wait for answers, by ID
	answering int
	stopped   error // why the node does not serve
	closed    bool
}

// ErrNotServing is wrapped by the errors of calls that need a session when the node has
// none.
var ErrNotServing = errors.New("fleet: this node does not serve at present")

// New starts a node, which keeps the caches in step with the log until Close. It
// returns at once: until the node has joined, and whenever it may have missed
// something, the caches answer with errors. Ready waits for the node to serve.
// The error is for a Config.Lease that is too short, for a group that has a node
// already, or the log's, which could not listen for answers.
func New(log fleetlog.Log, group *tokencache.Group, cfg Config) (*Node, error) {
	claim, err := group.Claim()
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	n, err := newNode(log, claimed{group, claim}, cfg)
	if err != nil {
		claim.Release()
		return nil, err
	}
	n.release = claim.Release
	return n, nil
}

// A claimed is a group that a node has claimed.
type claimed struct {
	*tokencache.Group
	claim *tokencache.Claim
}

func (c claimed) Evict(ctx context.Context, why tokencache.Cause, sels ...tokencache.Selector) map[string]int {
	if why == tokencache.CauseNode {
		return c.claim.Evict(ctx, sels...)
	}
	return c.Group.Evict(ctx, sels...)
}

func (c claimed) Clear(ctx context.Context, why tokencache.Cause) map[string]int {
	if why == tokencache.CauseNode {
		return c.claim.Clear(ctx)
	}
	return c.Group.Clear(ctx)
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
	if cfg.version == 0 {
		cfg.version = version
	}
	n := &Node{log: log, caches: caches, cfg: cfg, id: cfg.newID(), release: func() {},
		changes: make(map[string]*change), serving: make(chan struct{}), since: cfg.clock.Now(),
		heard: make(map[string]hearing), questions: make(map[string]chan letter)}
	caches.Lease(cfg.clock.Now()) // nothing is answered before the first session
	address, stop, err := log.Listen(n.received)
	if err != nil {
		return nil, fmt.Errorf("fleet: listen for answers: %w", err)
	}
	n.address, n.stopListen = address, stop
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.running.Go(n.run)
	return n, nil
}

// Close leaves the fleet: the caches stop answering, the other nodes need not wait
// for this one, and callers that wait for an eviction get an error. It waits for the
// node's goroutines, but at most three seconds for a log that hangs.
func (n *Node) Close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.cancel(tokencache.ErrClosed)
	ended := make(chan struct{})
	go func() {
		n.running.Wait()
		n.release()
		close(ended)
	}()
	timer := time.NewTimer(closing)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
	n.stopListen()
}

// closing is how long Close waits.
const closing = 3 * time.Second

// Ready waits until the node serves. The error is the context's, with the reason
// why the node does not serve, or wraps tokencache.ErrClosed.
func (n *Node) Ready(ctx context.Context) error {
	n.mu.Lock()
	serving := n.serving
	n.mu.Unlock()
	select {
	case <-serving:
		return nil
	case <-n.ctx.Done():
		return fmt.Errorf("%w: %w", ErrNotServing, tokencache.ErrClosed)
	case <-ctx.Done():
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.stopped != nil {
			return fmt.Errorf("%w: %w: %w", ErrNotServing, context.Cause(ctx), n.stopped)
		}
		return fmt.Errorf("%w: %w", ErrNotServing, context.Cause(ctx))
	}
}

// A Status is a node's condition.
type Status struct {
	ID, Name string
	Address  string            // where the other nodes send their answers
	Serving  bool              // whether it has a session; its lease may still have run out
	Since    time.Time         // when Serving last changed
	Err      error             // why it does not serve, with the log's own error; nil if that is not known
	Until    time.Time         // until when it may answer
	Renewed  time.Time         // when the heartbeat of its present lease was sent; zero: it does not serve
	Lease    time.Duration     // the log's: how long a heartbeat lets a node answer
	Applied  fleetlog.Position // up to which it has applied the log
	Log      string            // the log's identity
	Members  int               // how many nodes it has heard of within three leases, itself included
	Pending  int               // how many of this node's changes are being appended or wait for other nodes
}

// Status returns this node's condition.
func (n *Node) Status() Status {
	st := Status{ID: n.id, Name: n.cfg.Name, Address: n.address}
	if s := n.current.Load(); s != nil {
		st.Serving, st.Applied, st.Log = true, fleetlog.Position(s.applied.Load()), s.meta.Log
		st.Until, st.Lease = *s.until.Load(), s.meta.Lease
		st.Renewed = st.Until.Add(-st.Lease)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	st.Since, st.Members, st.Pending = n.since, len(n.heard), len(n.changes)
	if !st.Serving {
		st.Err = n.stopped
	}
	return st
}

// run runs one session after the other.
func (n *Node) run() {
	ended := n.cfg.clock.Now()
	for number := 1; ; number++ {
		s := newSession(n, sessionID{n.id, number}, ended)
		err := s.run(n.ctx)
		if n.ctx.Err() != nil {
			s.leave()
			return
		}
		n.doubt(err)
		if s.began {
			n.tell(Event{Kind: EventStopped, Position: fleetlog.Position(s.applied.Load()), Err: err})
			ended = n.cfg.clock.Now()
		} else {
			n.tell(Event{Kind: EventJoinFailed, Err: err})
		}
		pause := n.cfg.Lease / 50
		if errors.Is(err, errWrongLog) || errors.Is(err, ErrVersion) {
			s.leave() // no change need wait for it, and the next session may be far off
			pause = n.cfg.Lease / 2
		}
		if n.sleep(n.ctx, n.backoff(pause)) != nil {
			s.leave()
			return
		}
	}
}

// doubt keeps the reason why the node does not serve.
func (n *Node) doubt(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopped = err
}
