package fleettest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// A Log is a log in memory. It keeps everything that was ever appended, so that a
// view of the past can be read. [NewLog] makes one.
type Log struct {
	mu        sync.Mutex // guards the fields below
	history   *history   // the present one
	past      []*history // histories that were replaced, oldest first
	deleted   []*history // those of them that Recreate has ended
	listeners map[string]func([]byte)
	addresses int
	down      bool          // no leader: appends wait
	changed   chan struct{} // closed at each change
}

// A history is what a log held between two replacements.
type history struct {
	all   []stored // by position, with superseded messages
	last  map[string]int
	ids   map[string]fleetlog.Position
	first fleetlog.Position // a follower that starts before it has missed something
}

type stored struct {
	fleetlog.Message
	expires    time.Time // zero: never
	superseded bool
}

// NewLog returns an empty log.
func NewLog() *Log {
	return &Log{history: newHistory(), listeners: make(map[string]func([]byte)), changed: make(chan struct{})}
}

func newHistory() *history {
	return &history{last: make(map[string]int), ids: make(map[string]fleetlog.Position)}
}

// Connect returns the log for one node.
func (l *Log) Connect() *Conn {
	return &Conn{log: l, changed: make(chan struct{})}
}

func (l *Log) changedLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// Last returns the position of the last message.
func (l *Log) Last() fleetlog.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.history.end()
}

func (h *history) end() fleetlog.Position { return fleetlog.Position(len(h.all)) }

// Stop makes appends wait until Start, as they do while the servers elect a leader.
func (l *Log) Stop() { l.setDown(true) }

// Start lets appends continue after Stop.
func (l *Log) Start() { l.setDown(false) }

func (l *Log) setDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
	l.changedLocked()
}

// Recreate replaces the log by an empty one.
func (l *Log) Recreate() {
	l.mu.Lock()
	l.deleted = append(l.deleted, l.history)
	l.mu.Unlock()
	l.replace(newHistory())
}

// RollBack removes all messages after a position, as if the store had been restored from
// a backup.
func (l *Log) RollBack(to fleetlog.Position) {
	l.mu.Lock()
	old := l.history
	l.mu.Unlock()
	h := newHistory()
	for _, m := range old.all[:min(to, old.end())] {
		m.superseded = false
		h.add(m)
	}
	l.replace(h)
}

func (l *Log) replace(h *history) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.past = append(l.past, l.history)
	l.history = h
	l.changedLocked()
}

// Compact forgets everything before the present end, so that a follower which starts
// before it has missed something.
func (l *Log) Compact() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.first = l.history.end() + 1
}

// add appends a message, and gives it a position if it has none.
func (h *history) add(m stored) fleetlog.Position {
	m.Position = h.end() + 1
	if i, ok := h.last[m.Key]; ok {
		h.all[i].superseded = true
	}
	h.last[m.Key] = len(h.all)
	h.all = append(h.all, m)
	if m.ID != "" {
		h.ids[m.ID] = m.Position
	}
	return m.Position
}

func (m stored) gone(now time.Time) bool { return !m.expires.IsZero() && !now.Before(m.expires) }

// append commits an entry.
func (l *Log) append(e fleetlog.Entry, forgetIDs bool) (fleetlog.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.history
	if pos, ok := h.ids[e.ID]; ok && !forgetIDs {
		return pos, nil
	}
	if e.If != nil {
		var last fleetlog.Position
		if i, ok := h.last[e.Key]; ok && !h.all[i].gone(time.Now()) {
			last = h.all[i].Position
		}
		if last != *e.If {
			return 0, fmt.Errorf("%w: %s is at %d, not %d", fleetlog.ErrConflict, e.Key, last, *e.If)
		}
	}
	m := stored{Message: fleetlog.Message{Key: e.Key, Value: slices.Clone(e.Value), Deleted: e.Delete, ID: e.ID}}
	if e.TTL > 0 {
		m.expires = time.Now().Add(e.TTL)
	}
	pos := h.add(m)
	l.changedLocked()
	return pos, nil
}

// view shows a history as it was at a position.
func (h *history) view(at fleetlog.Position, keys []string) fleetlog.View {
	now := time.Now()
	v := fleetlog.View{Position: min(at, h.end()), Messages: make(map[string]fleetlog.Message)}
	for _, m := range h.all[:v.Position] {
		if !slices.ContainsFunc(keys, func(key string) bool { return covers(key, m.Key) }) {
			continue
		}
		if m.gone(now) {
			delete(v.Messages, m.Key)
		} else {
			v.Messages[m.Key] = m.Message
		}
	}
	if len(v.Messages) == 0 {
		v.Position = 0
	}
	return v
}

func covers(pattern, key string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(key, prefix)
	}
	return pattern == key
}

// A Replica says which past of the log answers a read.
type Replica struct {
	Past   int               // 0: the present log; 1: the one that was there before the last Recreate, and so on
	Behind fleetlog.Position // how many of the last messages it lacks
}

// A Conn is one node's connection to a [Log]. Its hooks are for simulations; set them
// before it is used.
type Conn struct {
	// Delay returns how long a message is on its way: "request", "reply", "deliver" or
	// "send". For "break" it returns how long a follower takes to notice that its log was
	// replaced. Nil: no delay.
	Delay func(what string) time.Duration
	// Replica says which past of the log answers a read. Nil: the present.
	Replica func() Replica
	// Repeat reports whether an unconditional append is committed again although its
	// ID is known. Nil: never.
	Repeat func() bool
	// Copies returns how often a Send arrives. Nil: once.
	Copies func() int

	log *Log

	mu      sync.Mutex    // guards the fields below
	out, in bool          // whether that direction is cut
	broken  int           // how often the followers were broken
	changed chan struct{} // closed at each change
}

var _ fleetlog.Log = (*Conn)(nil)

// Cut cuts the connection: requests do not arrive, or answers and deliveries do not come
// back, or both. Messages on their way wait until Heal, as with TCP.
func (c *Conn) Cut(requests, answers bool) { c.set(func() { c.out, c.in = requests, answers }) }

// Heal undoes Cut.
func (c *Conn) Heal() { c.Cut(false, false) }

// Break makes the followers fail.
func (c *Conn) Break() { c.set(func() { c.broken++ }) }

func (c *Conn) set(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

// pass waits as long as a message takes in one direction.
func (c *Conn) pass(ctx context.Context, what string, cut func() bool) error {
	if c.Delay != nil {
		arrival, stop := context.WithTimeout(ctx, c.Delay(what))
		<-arrival.Done()
		stop()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	for {
		c.mu.Lock()
		blocked, changed := cut(), c.changed
		c.mu.Unlock()
		if !blocked {
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *Conn) request(ctx context.Context) error {
	return c.pass(ctx, "request", func() bool { return c.out })
}

func (c *Conn) reply(ctx context.Context, what string) error {
	return c.pass(ctx, what, func() bool { return c.in })
}

func (c *Conn) deaf() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in
}

// leader waits until there is a leader.
func (l *Log) leader(ctx context.Context) error {
	for {
		l.mu.Lock()
		down, changed := l.down, l.changed
		l.mu.Unlock()
		if !down {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Append implements fleetlog.Log.
func (c *Conn) Append(ctx context.Context, e fleetlog.Entry) (fleetlog.Position, error) {
	if err := cmp.Or(c.request(ctx), c.log.leader(ctx)); err != nil {
		return 0, err
	}
	pos, err := c.log.append(e, e.If == nil && c.Repeat != nil && c.Repeat())
	if lost := c.reply(ctx, "reply"); lost != nil {
		return 0, lost
	}
	return pos, err
}

// Read implements fleetlog.Log.
func (c *Conn) Read(ctx context.Context, keys ...string) (fleetlog.View, error) {
	if err := c.request(ctx); err != nil {
		return fleetlog.View{}, err
	}
	view := c.log.read(c.replica(), keys)
	return view, c.reply(ctx, "reply")
}

func (c *Conn) replica() Replica {
	if c.Replica == nil {
		return Replica{}
	}
	return c.Replica()
}

func (l *Log) read(r Replica, keys []string) fleetlog.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.history
	if n := len(l.deleted); r.Past > 0 && n > 0 {
		h = l.deleted[max(0, n-r.Past)]
	}
	return h.view(h.end()-min(r.Behind, h.end()), keys)
}

// Listen implements fleetlog.Log.
func (c *Conn) Listen(deliver func([]byte)) (address string, stop func(), err error) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addresses++
	address = fmt.Sprintf("a%d", l.addresses)
	l.listeners[address] = func(data []byte) {
		if c.Delay != nil {
			time.Sleep(c.Delay("send"))
		}
		if !c.deaf() {
			deliver(data)
		}
	}
	return address, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.listeners, address)
	}, nil
}

// Send implements fleetlog.Log. While the connection is cut, messages are lost.
func (c *Conn) Send(address string, data []byte) {
	l := c.log
	l.mu.Lock()
	deliver := l.listeners[address]
	l.mu.Unlock()
	c.mu.Lock()
	cut := c.out
	c.mu.Unlock()
	copies := 1
	if c.Copies != nil {
		copies = c.Copies()
	}
	if deliver == nil || cut {
		return
	}
	for range copies {
		go deliver(slices.Clone(data))
	}
}

// Follow implements fleetlog.Log.
func (c *Conn) Follow(ctx context.Context, from fleetlog.Position) (fleetlog.Follower, error) {
	if err := c.request(ctx); err != nil {
		return nil, err
	}
	l := c.log
	l.mu.Lock()
	h := l.history
	tooLate := from < h.first
	l.mu.Unlock()
	if err := c.reply(ctx, "reply"); err != nil {
		return nil, err
	}
	if tooLate {
		return nil, fleetlog.ErrGap
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &follower{conn: c, history: h, next: max(from, 1), prev: max(from, 1) - 1, broken: c.broken}, nil
}

type follower struct {
	conn    *Conn
	history *history
	next    fleetlog.Position
	prev    fleetlog.Position // delivered last
	broken  int
}

var errBroken = errors.New("fleettest: the follower broke")

// Next implements fleetlog.Follower.
func (f *follower) Next(ctx context.Context) (fleetlog.Message, error) {
	for {
		f.conn.mu.Lock()
		broken := f.conn.changed
		f.conn.mu.Unlock()
		m, ok, changed, err := f.find(ctx)
		if err != nil {
			return fleetlog.Message{}, err
		}
		if ok {
			if err := f.conn.reply(ctx, "deliver"); err != nil {
				return fleetlog.Message{}, err
			}
			return m, nil
		}
		select {
		case <-changed:
		case <-broken:
		case <-ctx.Done():
			return fleetlog.Message{}, ctx.Err()
		}
	}
}

// find returns the next message, or a channel that is closed when there may be one.
func (f *follower) find(ctx context.Context) (m fleetlog.Message, ok bool, changed chan struct{}, err error) {
	f.conn.mu.Lock()
	broken := f.broken != f.conn.broken
	f.conn.mu.Unlock()
	if broken {
		return m, false, nil, errBroken
	}
	l := f.conn.log
	l.mu.Lock()
	replaced := l.history != f.history
	m, ok = f.takeLocked()
	changed = l.changed
	l.mu.Unlock()
	if replaced {
		if err := f.conn.reply(ctx, "break"); err != nil {
			return m, false, nil, err
		}
		return m, false, nil, fmt.Errorf("%w: the log was replaced", errBroken)
	}
	return m, ok, changed, nil
}

func (f *follower) takeLocked() (fleetlog.Message, bool) {
	for ; f.next <= f.history.end(); f.next++ {
		if m := f.history.all[f.next-1]; !m.superseded && !m.gone(time.Now()) {
			m.Skipped = f.next != f.prev+1
			f.prev = f.next
			f.next++
			return m.Message, true
		}
	}
	return fleetlog.Message{}, false
}

// Close implements fleetlog.Follower.
func (f *follower) Close() {}

// Histories returns the messages of every log that there was, the oldest log first.
// They include messages that a later one of their key superseded.
func (l *Log) Histories() [][]fleetlog.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all [][]fleetlog.Message
	for _, h := range append(slices.Clip(l.past), l.history) {
		var messages []fleetlog.Message
		for _, m := range h.all {
			messages = append(messages, m.Message)
		}
		all = append(all, messages)
	}
	return all
}

// Settle marks the log as older than a lease, as the nodes do once it is, so that a test
// need not wait. A node must have joined, and no node may have a lease from an earlier
// log.
func (l *Log) Settle() {
	l.mu.Lock()
	meta := l.history.view(l.history.end(), []string{"meta"}).Messages["meta"]
	l.mu.Unlock()
	var record struct{ Log string }
	if err := json.Unmarshal(meta.Value, &record); err != nil {
		panic("fleettest: no node has joined the log")
	}
	l.append(fleetlog.Entry{Key: "settled", Value: []byte(record.Log)}, false)
}

// Keys returns the keys that have a value, sorted.
func (l *Log) Keys() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	view := l.history.view(l.history.end(), []string{"*"})
	maps.DeleteFunc(view.Messages, func(_ string, m fleetlog.Message) bool { return m.Deleted })
	return slices.Sorted(maps.Keys(view.Messages))
}
