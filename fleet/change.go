package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/tokencache"
)

// An UnconfirmedError reports a change that may not be in force on every node yet:
// the caller's context ended, or the node was closed, before that was known; or
// the log may not have it, or has lost it. The change may have happened.
type UnconfirmedError struct {
	Nodes []evict.Node // that are known; those with an Err have not answered. Empty: nobody was heard of
	Err   error        // why it was not waited for, and what the log said last, if it said anything
}

// Error names the nodes that have not answered.
func (e *UnconfirmedError) Error() string {
	var names []string
	for _, node := range e.Nodes {
		if node.Err != nil {
			names = append(names, node.Name+" ("+node.ID+")")
		}
	}
	if len(names) == 0 {
		return fmt.Sprintf("fleet: it is not known whether the change is in force on every node: %v", e.Err)
	}
	return fmt.Sprintf("fleet: the change is not confirmed by %s: %v", strings.Join(names, ", "), e.Err)
}

// Unwrap returns Err.
func (e *UnconfirmedError) Unwrap() error { return e.Err }

var (
	errNoAnswer = errors.New("it has not answered, and may still be serving")
	errLost     = errors.New("fleet: the log does not have the change any more")
	errTaken    = errors.New("fleet: a later change has taken the key of this one")
)

// ErrFewNodes is wrapped by the [*UnconfirmedError] of a change that is in force on every
// node of the log, if these are fewer than Config.Nodes: the others are stopped, or share
// another log and go on there.
var ErrFewNodes = errors.New("fleet: fewer nodes share the log than Config.Nodes says")

// Evict parses the names as evict.Parse does and forgets those tokens on every node of
// the fleet. When it returns without an error, no authentication that starts afterwards
// on any node gets an answer which a source gave before Evict was called. The same holds
// for changes that the log had before, whether they were confirmed or not. It returns
// when each node has answered, or cannot be serving any more: at the latest a lease, and
// 0.2 % for the clocks' drift, after the log took the eviction.
//
// The error is a *evict.SelectorError, and then nothing was evicted; or an
// [*UnconfirmedError]: this node has evicted, and goes on to tell the others, even
// after the context has ended, until it is closed; or wraps tokencache.ErrClosed, for a
// call after Close, or fleetlog.ErrUnfit, if there are more names than a message of the
// log holds: its caches have evicted, and no other node is told. The report names the
// other nodes.
func (n *Node) Evict(ctx context.Context, namespace, service, names string) (evict.Report, error) {
	sel, err := evict.Parse(namespace, service, names)
	if err != nil {
		return evict.Report{}, err
	}
	return n.EvictSelector(ctx, sel)
}

// EvictSelector is Evict for a selector that has been parsed.
func (n *Node) EvictSelector(ctx context.Context, sel tokencache.Selector) (evict.Report, error) {
	start := time.Now()
	report := evict.Report{Selector: sel, Evicted: n.caches.Evict(ctx, tokencache.CauseAsked, sel)}
	if sel.String() == "" {
		return report, nil
	}
	nodes, err := n.spread(ctx, n.eviction(sel))
	report.Nodes, report.Duration = nodes, time.Since(start)
	return report, err
}

// eviction returns the entry that evicts what a selector names.
func (n *Node) eviction(sel tokencache.Selector) fleetlog.Entry {
	id := n.cfg.newID()
	return fleetlog.Entry{Key: evictPrefix + id, ID: id, Value: marshal(newEvictionRecord(sel, n.address))}
}

var _ evict.Evictor = (*Node)(nil)

// A change is an entry of the log that waits for the nodes' answers.
type change struct {
	entry fleetlog.Entry

	// These are guarded by the node's mu.
	answers map[sessionID]letter
	log     metaRecord // which log has the change; set once this node has applied it
	failed  error      // what the log said last

	news   chan struct{}            // holds one: something has arrived
	latest atomic.Pointer[progress] // nil: the log has not acknowledged it
}

// spread appends a change and waits until it is in force on every node. It goes on
// when the context ends: a revocation must not depend on its caller's patience.
func (n *Node) spread(ctx context.Context, entry fleetlog.Entry) ([]evict.Node, error) {
	type result struct {
		nodes []evict.Node
		err   error
	}
	done := make(chan result, 1)
	var current atomic.Pointer[change]
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil, tokencache.ErrClosed
	}
	n.running.Go(func() {
		nodes, err := n.carry(n.ctx, entry, &current)
		done <- result{nodes, err}
	})
	n.mu.Unlock()
	select {
	case r := <-done:
		return r.nodes, r.err
	case <-ctx.Done():
		return n.unconfirmed(current.Load(), context.Cause(ctx))
	}
}

// unconfirmed returns the nodes and the error of a change that the caller stops waiting
// for.
func (n *Node) unconfirmed(c *change, why error) ([]evict.Node, error) {
	if c == nil {
		return nil, &UnconfirmedError{nil, why}
	}
	p := c.latest.Load()
	if p == nil {
		p = &progress{id: c.entry.ID}
	}
	k, failed := n.know(c)
	if failed != nil {
		why = fmt.Errorf("%w: %w", why, failed)
	}
	nodes := p.report(k, false)
	return nodes, &UnconfirmedError{nodes, why}
}

// carry appends the entry, and appends an eviction again if a log that was replaced has
// lost it. If a later change has taken a document's key, it appends an eviction of the
// token instead: a follower may never be given the change itself, and an eviction vouches
// for all changes before it.
func (n *Node) carry(ctx context.Context, entry fleetlog.Entry, current *atomic.Pointer[change]) ([]evict.Node, error) {
	var log string // that has the document's change, if this node knows it
	for {
		entry.TTL = keptFor(entry, n.lease())
		c := n.expect(entry)
		current.Store(c)
		nodes, err := n.attempt(ctx, c)
		n.forget(c)
		kind, _, _ := strings.Cut(entry.Key, ".")
		switch document := kind+"." == docPrefix; {
		case document && errors.Is(err, errTaken):
			id, _ := parseDocKey(entry.Key) // docKey made it, of a valid id
			sel, _ := id.Select()
			log, entry = n.logOf(c).Log, n.eviction(sel)
		case !document && (errors.Is(err, errLost) || errors.Is(err, errTaken)):
			entry.ID = n.cfg.newID()
			entry.Key = kind + "." + entry.ID
		case errors.Is(err, errLost), err == nil && log != "" && n.logOf(c).Log != log:
			return nodes, &UnconfirmedError{nodes, errLost}
		default:
			return nodes, err
		}
	}
}

// keptFor returns how long the log has to keep a change; zero: for ever.
func keptFor(entry fleetlog.Entry, lease time.Duration) time.Duration {
	switch {
	case entry.Delete:
		return max(keep*lease, keepDeleted)
	case strings.HasPrefix(entry.Key, docPrefix):
		return 0
	default:
		return keep * lease
	}
}

// lease returns the longest lease that a log had so far, or the configured one if that is
// longer.
func (n *Node) lease() time.Duration {
	return max(time.Duration(n.longest.Load()), n.cfg.Lease)
}

func (n *Node) learnLease(lease time.Duration) { raise(&n.longest, uint64(lease)) }

func (n *Node) attempt(ctx context.Context, c *change) ([]evict.Node, error) {
	failed := func(err error) { n.note(c, err) }
	pos, err := n.append(ctx, c.entry, failed)
	switch {
	case err == nil:
		// From the acknowledgement on: see deadline.
		return n.confirm(ctx, c, &progress{id: c.entry.ID, ttl: c.entry.TTL, pos: pos, t1: n.cfg.clock.Now()})
	case untouched(err):
		return nil, err
	default:
		return n.unconfirmed(c, err)
	}
}

// note keeps the log's last error for a change; nil: the log did what it was asked for.
func (n *Node) note(c *change, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c.failed = err
}

// expect registers a change for answers. It must be called before the change is appended.
func (n *Node) expect(entry fleetlog.Entry) *change {
	c := &change{entry: entry, answers: make(map[sessionID]letter), news: make(chan struct{}, 1)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changes[entry.ID] = c
	return c
}

func (n *Node) forget(c *change) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.changes, c.entry.ID)
}

// marked keeps a heartbeat of this node that was delivered, and wakes the changes that
// wait.
func (n *Node) marked(mark watermark) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mark = mark
	for _, c := range n.changes {
		c.wake()
	}
}

// received handles a letter of another node that the log has delivered.
func (n *Node) received(data []byte) {
	var l letter
	switch {
	case json.Unmarshal(data, &l) != nil:
	case l.Question != "":
		n.discuss(l)
	default:
		n.applied(l, metaRecord{})
	}
}

// applied notes that a session has applied a change. If it is this node's own session,
// log says which log has the change.
func (n *Node) applied(a letter, log metaRecord) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.changes[a.Change]
	if c == nil {
		return
	}
	c.answers[sessionID{a.Process, a.Session}] = a
	if log.Log != "" {
		c.log = log
	}
	c.wake()
}

func (c *change) wake() {
	select {
	case c.news <- struct{}{}:
	default: // it will look already
	}
}

// know returns what the node knows now that matters for a change, and the log's last
// error.
func (n *Node) know(c *change) (knowledge, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := knowledge{
		now: n.cfg.clock.Now(), own: n.id, mark: n.mark,
		answers: make(map[sessionID]letter, len(c.answers)), heard: make(map[string]hearing, len(n.heard)),
	}
	maps.Copy(k.answers, c.answers)
	maps.Copy(k.heard, n.heard)
	return k, c.failed
}

// confirm waits until every session that may serve has applied the change or must have
// lapsed.
func (n *Node) confirm(ctx context.Context, c *change, p *progress) ([]evict.Node, error) {
	n.note(c, nil)
	polls, stop := n.poll(ctx, c, p.pos)
	defer stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if p.lease == 0 { // the membership was not read: ask this node's own session
			p = &progress{p.id, p.ttl, p.pos, p.t1, n.logOf(c).Lease, p.read}
		}
		c.latest.Store(p)
		k, _ := n.know(c)
		switch d := p.decide(k); d {
		case done, lapsed:
			return n.confirmed(p, k, d)
		case lost:
			return nil, errLost
		}
		if deadline, known := p.deadline(); known {
			timer.Reset(n.cfg.clock.Real(deadline.Sub(k.now)))
		}
		select {
		case <-ctx.Done():
			return n.unconfirmed(c, tokencache.ErrClosed)
		case polled := <-polls:
			if polled.err != nil {
				return nil, polled.err
			}
			p = &progress{p.id, p.ttl, p.pos, p.t1, polled.read.meta.Lease, polled.read}
		case <-c.news:
		case <-timer.C:
		}
	}
}

// confirmed returns the report of a change that is in force on every node of the log.
func (n *Node) confirmed(p *progress, k knowledge, d decision) ([]evict.Node, error) {
	nodes := p.report(k, d == lapsed)
	if p.nodes(k) < n.cfg.Nodes {
		return nodes, &UnconfirmedError{nodes, fmt.Errorf("%w: %d, not %d", ErrFewNodes, p.nodes(k), n.cfg.Nodes)}
	}
	return nodes, nil
}

func (n *Node) logOf(c *change) metaRecord {
	n.mu.Lock()
	defer n.mu.Unlock()
	return c.log
}

type polled struct {
	read *membership
	err  error
}

// poll reads the membership at once, and every fifth of a lease, in case answers are
// lost. If the log cannot answer, the change relies on the heartbeats that were heard,
// and on the deadline.
func (n *Node) poll(ctx context.Context, c *change, pos fleetlog.Position) (polls chan polled, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	polls = make(chan polled)
	n.running.Go(func() {
		for {
			r, err := n.readMembership(ctx, c, pos)
			if err != nil && !errors.Is(err, errLost) && !errors.Is(err, errTaken) {
				return // the context ended, or there are more nodes than the log can list at once
			}
			select {
			case polls <- polled{r, err}:
			case <-ctx.Done():
				return
			}
			if err != nil || n.sleep(ctx, n.backoff(r.meta.Lease/5)) != nil {
				return
			}
		}
	})
	return polls, cancel
}

// readMembership reads which sessions may be serving, from a view that has the change.
func (n *Node) readMembership(ctx context.Context, c *change, pos fleetlog.Position) (*membership, error) {
	valid := func(v fleetlog.View) error { return covers(v, c.entry, pos, n.logOf(c)) }
	failed := func(err error) { n.note(c, err) }
	view, err := n.read(ctx, valid, failed, c.entry.Key, metaKey, settledKey, nodePrefix+"*")
	if errors.Is(err, fleetlog.ErrUnfit) {
		failed(err)
	}
	if err != nil {
		return nil, err
	}
	failed(nil)
	if view.Messages[c.entry.Key].Position < pos {
		return nil, errLost
	}
	k, _ := n.know(c)
	r := readMembership(view, k.heard)
	n.learnLease(r.meta.Lease)
	return r, nil
}
