package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	Nodes []evict.Node // that were told; those with an Err have not answered. Empty: it is not known who they are
	Err   error        // why it was not waited for
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
)

// Evict parses the names as evict.Parse does and forgets those tokens on every node
// of the fleet. When it returns without an error, no authentication that starts
// afterwards on any node gets an answer which a source gave before Evict was called.
// It returns when each node has answered, or cannot be serving any more: at the
// latest a lease, and 0.2 % for the clocks' drift, after the log took the eviction.
//
// The error is a *evict.SelectorError, and then nothing was evicted; or an
// [*UnconfirmedError]: this node has evicted, and goes on to tell the others, also
// after the context has ended, until it is closed; or [ErrClosed], for a call after
// Close: its caches have evicted, and no other node is told. The report names the
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
	id := n.cfg.newID()
	entry := fleetlog.Entry{Key: evictPrefix + id, ID: id, Value: marshal(newEvictionRecord(sel, n.address))}
	nodes, err := n.spread(ctx, entry, true)
	report.Nodes, report.Duration = nodes, time.Since(start)
	return report, err
}

var _ evict.Evictor = (*Node)(nil)

// A change is what waits for answers.
type change struct {
	entry fleetlog.Entry
	here  bool // this process's caches need not be waited for

	// These are guarded by the node's mu.
	answers map[sessionID]answer
	lease   time.Duration // once this node has applied the change itself: the log's lease

	news chan struct{} // has room for one: something has come in
}

// spread appends a change and waits until it is in force on every node. It goes on
// when the context ends: a revocation must not depend on its caller's patience.
func (n *Node) spread(ctx context.Context, entry fleetlog.Entry, here bool) ([]evict.Node, error) {
	type result struct {
		nodes []evict.Node
		err   error
	}
	done := make(chan result, 1)
	var latest atomic.Pointer[progress]
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil, ErrClosed
	}
	n.running.Go(func() {
		nodes, err := n.carry(n.ctx, entry, here, &latest)
		done <- result{nodes, err}
	})
	n.mu.Unlock()
	select {
	case r := <-done:
		return r.nodes, r.err
	case <-ctx.Done():
		nodes := latest.Load().report(n, false)
		return nodes, &UnconfirmedError{nodes, context.Cause(ctx)}
	}
}

// carry appends, and appends anew what a log that was replaced has lost.
func (n *Node) carry(ctx context.Context, entry fleetlog.Entry, here bool, latest *atomic.Pointer[progress]) ([]evict.Node, error) {
	for {
		switch {
		case strings.HasPrefix(entry.Key, evictPrefix):
			entry.TTL = keep * n.lease()
		case entry.Delete:
			entry.TTL = max(keep*n.lease(), keepDeleted)
		}
		c := n.expect(entry, here)
		nodes, err := n.attempt(ctx, c, latest)
		n.forget(c)
		if !errors.Is(err, errLost) {
			return nodes, err
		}
		if !strings.HasPrefix(entry.Key, evictPrefix) {
			return nodes, &UnconfirmedError{nodes, err}
		}
		entry.ID = n.cfg.newID()
		entry.Key = evictPrefix + entry.ID
	}
}

// lease returns the longest lease that a log was seen to have, or the configured one,
// if that is longer.
func (n *Node) lease() time.Duration {
	return max(time.Duration(n.longest.Load()), n.cfg.Lease)
}

func (n *Node) learnLease(lease time.Duration) {
	for longest := n.longest.Load(); int64(lease) > longest && !n.longest.CompareAndSwap(longest, int64(lease)); {
		longest = n.longest.Load()
	}
}

func (n *Node) attempt(ctx context.Context, c *change, latest *atomic.Pointer[progress]) ([]evict.Node, error) {
	pos, err := n.append(ctx, c.entry)
	if err != nil && !errors.Is(err, fleetlog.ErrConflict) {
		return nil, &UnconfirmedError{nil, err}
	}
	if err != nil {
		return nil, err
	}
	// From the acknowledgement on: no lease that is valid a lease's length later was
	// sent before now, and any that was sent after now covers the change.
	return n.confirm(ctx, &progress{change: c, pos: pos, t1: n.cfg.clock.Now()}, latest)
}

// expect registers a change for answers, before it is appended.
func (n *Node) expect(entry fleetlog.Entry, here bool) *change {
	c := &change{entry: entry, here: here, answers: make(map[sessionID]answer), news: make(chan struct{}, 1)}
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

// fenced notes the position of an own heartbeat, and when that was sent, and has the
// changes that wait look at it.
func (n *Node) fenced(t0 time.Time, pos fleetlog.Position) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fence = fence{t0, pos}
	for _, c := range n.changes {
		c.wake()
	}
}

// answered takes another node's answer from the log.
func (n *Node) answered(data []byte) {
	var a answer
	if json.Unmarshal(data, &a) == nil {
		n.applied(a, 0)
	}
}

// applied notes that a session has applied a change; this node's own says the log's
// lease as well.
func (n *Node) applied(a answer, lease time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.changes[a.Change]
	if c == nil {
		return
	}
	c.answers[sessionID{a.Process, a.Session}] = a
	if lease > 0 {
		c.lease = lease
	}
	c.wake()
}

func (c *change) wake() {
	select {
	case c.news <- struct{}{}:
	default: // it is awake already
	}
}

// A fence is a heartbeat of this node: whatever was acknowledged before t0 has a lower
// position in the log that has it.
type fence struct {
	t0  time.Time
	pos fleetlog.Position
}

// A roll is the sessions that may be serving, from a view that was read after the
// change: one that joins later has the change before its first heartbeat.
type roll struct {
	meta    metaRecord
	settled bool
	members []member
}

type member struct {
	id   sessionID
	beat heartbeat
	pos  fleetlog.Position // of the heartbeat
	left bool              // it was closed
}

// A progress is how far a change has come. It is not changed once it is published.
type progress struct {
	*change
	pos   fleetlog.Position
	t1    time.Time     // after the log acknowledged it
	roll  *roll         // nil: not read yet
	lease time.Duration // zero: not known yet
}

// confirm waits until every session of the roll has applied the change, or must have
// lapsed, being a lease older than t1.
func (n *Node) confirm(ctx context.Context, p *progress, latest *atomic.Pointer[progress]) ([]evict.Node, error) {
	polls, stop := n.poll(ctx, p.change, p.pos)
	defer stop()
	deadline := time.NewTimer(time.Hour)
	defer deadline.Stop()
	for {
		latest.Store(p)
		if p.lease == 0 {
			p = p.withLease(n)
		}
		if p.lease > 0 && !p.fleeting() {
			left := p.t1.Add(allow(p.lease)).Sub(n.cfg.clock.Now())
			if left <= 0 {
				return p.report(n, true), nil
			}
			deadline.Reset(n.cfg.clock.Real(left))
		}
		if p.complete(n) {
			return p.report(n, false), nil
		}
		if p.lost(n) || p.fleeting() {
			return nil, errLost
		}
		select {
		case <-ctx.Done():
			nodes := p.report(n, false)
			return nodes, &UnconfirmedError{nodes, ErrClosed}
		case polled := <-polls:
			if polled.err != nil {
				return nil, polled.err
			}
			p = &progress{p.change, p.pos, p.t1, polled.roll, polled.roll.meta.Lease}
		case <-p.news:
		case <-deadline.C:
		}
	}
}

// lost reports whether the log has given a heartbeat which this node sent after the
// change was acknowledged a position before the change's: it is another log, or was
// rolled back. Its views would not reach the position for long.
func (p *progress) lost(n *Node) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fence.t0.After(p.t1) && n.fence.pos < p.pos
}

// fleeting reports whether the change, appended while the log's lease was not known,
// goes from the log before everybody must have come by it.
func (p *progress) fleeting() bool { return p.entry.TTL > 0 && p.entry.TTL < keep*p.lease }

// withLease takes the lease from this node's own session, which has applied the
// change, where the roll has not been read.
func (p *progress) withLease(n *Node) *progress {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &progress{p.change, p.pos, p.t1, p.roll, p.change.lease}
}

// complete reports whether no session serves that has not applied the change. While
// the log is younger than a lease, a session of the log before it may serve.
func (p *progress) complete(n *Node) bool {
	return p.roll != nil && p.roll.settled &&
		!slices.ContainsFunc(p.roll.members, func(m member) bool { return n.awaits(p.change, m, p.pos) })
}

// awaits reports whether a session may serve without having applied the change. A
// heartbeat names changes, not a position: after the log was rolled back, a session
// that has not noticed yet may have passed the change's position in the log before.
func (n *Node) awaits(c *change, m member, pos fleetlog.Position) bool {
	if m.id.process == n.id && c.here {
		return false
	}
	if m.left || m.beat.First && m.pos > pos || slices.Contains(m.beat.Changes, c.entry.ID) {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := c.answers[m.id]
	return !ok
}

type polled struct {
	roll *roll
	err  error
}

// poll reads the roll at once, and every fifth of a lease, in case answers are lost.
func (n *Node) poll(ctx context.Context, c *change, pos fleetlog.Position) (polls chan polled, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	polls = make(chan polled)
	n.running.Go(func() {
		for {
			r, err := n.readRoll(ctx, c.entry.Key, pos)
			if err != nil && !errors.Is(err, errLost) {
				return // the context ended
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

// readRoll reads who may be serving, from a view that has the change.
func (n *Node) readRoll(ctx context.Context, key string, pos fleetlog.Position) (*roll, error) {
	valid := func(v fleetlog.View) error {
		var meta metaRecord
		switch {
		case v.Position < pos:
			return errBehind
		case json.Unmarshal(v.Messages[metaKey].Value, &meta) != nil || meta.Lease < minLease:
			return fmt.Errorf("fleet: the log has no identity yet")
		}
		return nil
	}
	view, err := n.read(ctx, valid, key, metaKey, settledKey, nodePrefix+"*")
	if err != nil {
		return nil, err
	}
	if view.Messages[key].Position < pos {
		return nil, errLost
	}
	r := &roll{}
	json.Unmarshal(view.Messages[metaKey].Value, &r.meta)
	n.learnLease(r.meta.Lease)
	r.settled = string(view.Messages[settledKey].Value) == r.meta.Log
	r.members = members(view)
	return r, nil
}

// members returns the last session of each process: it began after those before it
// had ended.
func members(view fleetlog.View) []member {
	last := make(map[string]member)
	for key, m := range view.Messages {
		id, ok := parseNodeKey(key)
		if !ok || id.n <= last[id.process].id.n {
			continue
		}
		var beat heartbeat
		if json.Unmarshal(m.Value, &beat) != nil {
			beat = heartbeat{} // whoever it is, it has to be waited for
		}
		last[id.process] = member{id, beat, m.Position, m.Deleted}
	}
	list := make([]member, 0, len(last))
	for _, m := range last {
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b member) int { return strings.Compare(a.id.process, b.id.process) })
	return list
}

// report says how each other node of the roll stands. Lapsed: those that have not
// answered cannot be serving on a lease from before the change.
func (p *progress) report(n *Node, lapsed bool) []evict.Node {
	if p == nil || p.roll == nil {
		return nil
	}
	var nodes []evict.Node
	until := p.t1.Add(allow(p.lease))
	for _, m := range p.roll.members {
		if m.id.process == n.id || m.left {
			continue
		}
		node := evict.Node{ID: m.id.process, Name: m.beat.Name, Evicted: n.answerOf(p.change, m.id).Evicted}
		switch {
		case !n.awaits(p.change, m, p.pos):
		case lapsed:
			node.NotServingSince = until
		default:
			node.Err, node.UnconfirmedUntil = errNoAnswer, until
		}
		nodes = append(nodes, node)
	}
	return nodes
}

func (n *Node) answerOf(c *change, id sessionID) answer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return c.answers[id]
}
