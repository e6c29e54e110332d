package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// A session is the time during which a node knows that it misses nothing. It begins
// with a heartbeat under a key of its own, serves once that heartbeat was delivered in
// the followed order and the caches are clear, and ends at the first doubt.
//
// Each heartbeat that was acknowledged and delivered extends the lease, to a lease's
// length after its *first sending*: whatever was acknowledged before has a lower
// position, and so has been applied. See docs/fleet-proof.md for the proof. Delivery is
// not enough: a PostgreSQL that has lost its standby shows what it could not acknowledge.
//
// A log keeps one message of each key, so a follower that lags misses messages that a
// later one has superseded, and the later one may come after the heartbeat. So a
// heartbeat counts only if nothing was skipped between its sending and its delivery. A
// message that was skipped earlier was superseded by one that was in the log by then,
// before the heartbeat.
//
// Everything but the atomic fields belongs to the goroutine of run.
type session struct {
	n     *Node
	id    sessionID
	ended time.Time // when the session before this one ended
	meta  metaRecord
	began bool            // it serves
	life  context.Context // ends with the session; immutable once it serves

	applied atomic.Uint64 // everything up to here is in force
	seen    atomic.Uint64 // applied, or the higher position of a view that was read
	anchor  atomic.Uint64 // copy of last for other goroutines
	until   atomic.Pointer[time.Time]

	beat     *beat             // sent, but not acknowledged or not delivered yet
	last     fleetlog.Position // of the session's heartbeat that was delivered last, or of its first one
	replay   *replay
	settled  bool // the log is known to be older than a lease
	metaSeen time.Time
	asleep   time.Duration // how long the machine had been suspended when the session began

	changes  [2][]string // that were applied since the last heartbeat, and since the one before
	follower *feed
	fresh    bool              // the follower has delivered nothing yet
	pause    time.Duration     // after the last failure of a follower; zero: one has delivered something since
	first    fleetlog.Position // of the session's first heartbeat
}

// maxChanges bounds a heartbeat: it names the changes of two intervals, in case the
// answers to them were lost.
const maxChanges = 64

// A beat is a heartbeat on its way.
type beat struct {
	entry fleetlog.Entry
	t0    time.Time              // before its first sending
	acked chan fleetlog.Position // receives once
	fail  chan error             // receives once, in acked's place
	known bool                   // it was acknowledged
	at    fleetlog.Position      // where it was delivered; zero: not yet
	void  bool                   // something was skipped between its sending and its delivery, so it does not count
	owed  time.Time              // when it was acknowledged, or when the follower was opened since
}

var (
	errLog       = errors.New("fleet: the log is not the one that was followed")
	errLapsed    = errors.New("fleet: the lease ran out before it was renewed")
	errRefused   = errors.New("fleet: the log refused the heartbeat")
	errSuspended = errors.New("fleet: the machine was suspended")
	errUnseen    = errors.New("fleet: the heartbeat was acknowledged, and is not delivered")
	errBehind    = errors.New("fleet: the replica is behind")
	errNoMeta    = errors.New("fleet: the log has no identity yet")
	errWrongLog  = errors.New("fleet: this is not a log to join")
)

// ErrVersion is wrapped by the reason why a node does not join, or has left: the log has
// a later version than this node can read. Upgrade the node.
var ErrVersion = errors.New("fleet: the log is of a later version")

func newSession(n *Node, id sessionID, ended time.Time) *session {
	return &session{n: n, id: id, ended: ended, replay: newReplay(), asleep: n.cfg.clock.Suspended()}
}

// run joins, and serves until something is in doubt. Its error says what.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.life = ctx
	err := s.join(ctx)
	if err == nil {
		err = s.follow(ctx)
	}
	s.end()
	return err
}

// join commits the first heartbeat, learns which log it is in, and starts to follow
// from there.
func (s *session) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.n.cfg.clock.Real(s.n.cfg.Lease))
	defer cancel()
	now := s.n.cfg.clock.Now()
	s.until.Store(&now)
	var pos fleetlog.Position
	// Twice if the log's lease is longer than was known: if a heartbeat expired before
	// its lease was over, no other node would wait for this one.
	for s.beat == nil || s.beat.entry.TTL < keep*s.meta.Lease {
		var err error
		s.beat = s.newBeat(heartbeat{First: true}, pos)
		if pos, err = s.n.append(ctx, s.beat.entry, s.n.doubt); err != nil {
			return fmt.Errorf("fleet: join: %w", err)
		}
		if err := s.learnLog(ctx, pos); err != nil {
			return fmt.Errorf("fleet: join: %w", err)
		}
	}
	s.last, s.first = pos, pos
	s.applied.Store(uint64(pos) - 1)
	s.beat.acked <- pos
	return nil
}

// learnLog reads the log's identity, and writes it if it is missing. It reads the
// identity in one view with the heartbeat at pos, so that it is of the log that has this
// heartbeat.
func (s *session) learnLog(ctx context.Context, pos fleetlog.Position) error {
	key := s.id.key()
	tied := func(v fleetlog.View) error {
		if v.Position < pos {
			return errBehind
		}
		if v.Messages[key].Position != pos {
			return errLog
		}
		return nil
	}
	for {
		view, err := s.n.read(ctx, tied, s.n.doubt, key, metaKey, settledKey)
		if err != nil {
			return err
		}
		if m, ok := view.Messages[metaKey]; ok && !m.Deleted {
			return s.adopt(m, view.Messages[settledKey])
		}
		if s.n.cfg.Log != "" {
			return fmt.Errorf("%w: it is new, and Config.Log says %s", errWrongLog, s.n.cfg.Log)
		}
		meta := metaRecord{Version: version, Log: s.n.cfg.newID(), Lease: s.n.cfg.Lease}
		last := view.Messages[metaKey].Position
		entry := fleetlog.Entry{Key: metaKey, Value: marshal(meta), ID: s.n.cfg.newID(), If: &last}
		_, err = s.n.append(ctx, entry, s.n.doubt)
		if err != nil && !errors.Is(err, fleetlog.ErrConflict) && !errors.Is(err, errUnsure) {
			return err
		}
	}
}

// adopt takes the identity of the log, if this node may join it.
func (s *session) adopt(meta, settled fleetlog.Message) error {
	record, err := s.n.cfg.joins(meta.Value)
	if err != nil {
		return err
	}
	s.meta = record
	s.n.learnLease(s.meta.Lease)
	s.settled = string(settled.Value) == s.meta.Log && !settled.Deleted
	s.metaSeen = s.n.cfg.clock.Now()
	return nil
}

// joins parses a log's identity, and returns an error if a node with this configuration
// must not join the log: it must be able to read every record there.
func (c Config) joins(meta []byte) (metaRecord, error) {
	var record metaRecord
	json.Unmarshal(meta, &record) // if it is malformed, there is no version
	switch strict := decode(meta, new(metaRecord)); {
	case record.Version > c.version:
		return record, fmt.Errorf("%w: the log's is %d, this node knows %d", ErrVersion, record.Version, c.version)
	case strict != nil || record.Version < 1 || record.Log == "" || record.Lease < minLease:
		return record, fmt.Errorf("%w: the log's key %q is malformed", errWrongLog, metaKey)
	case c.Log != "" && c.Log != record.Log:
		return record, fmt.Errorf("%w: it is %s, and Config.Log says %s", errWrongLog, record.Log, c.Log)
	}
	return record, nil
}

// follow applies what is delivered, and renews the lease, until something is in doubt.
func (s *session) follow(ctx context.Context) error {
	s.open(ctx)
	lease := s.meta.Lease
	s.n.waits = max(s.n.waits, lease/15)
	renew := s.timer(lease / 5)
	overdue := s.timer(time.Hour) // set when a heartbeat is acknowledged
	lapse := s.timer(s.beat.t0.Add(lease).Sub(s.n.cfg.clock.Now()))
	sleep := s.timer(lease / 60)
	for _, t := range []*time.Timer{renew, overdue, lapse, sleep} {
		defer t.Stop()
	}
	for {
		var acked chan fleetlog.Position
		var failed chan error
		if s.beat != nil {
			acked, failed = s.beat.acked, s.beat.fail
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-s.follower.messages:
			s.pause = 0
			if err := s.handle(ctx, m); err != nil {
				return err
			}
			overdue.Reset(s.real(s.n.waits)) // it is slow, not dead
		case err := <-s.follower.failed:
			if errors.Is(err, fleetlog.ErrGap) {
				return err
			}
			s.reopen(ctx, err)
		case pos := <-acked:
			if err := s.acknowledged(pos); err != nil {
				return err
			}
			overdue.Reset(s.real(s.n.waits))
		case err := <-failed:
			return fmt.Errorf("%w: %w", errRefused, err)
		case <-overdue.C:
			// Clients of NATS take 10 to 20 seconds to notice that a consumer is dead.
			if s.owed() {
				s.reopen(ctx, errUnseen)
				s.n.waits = patient(s.n.waits, lease)
				overdue.Reset(s.real(s.n.waits))
			}
		case <-renew.C:
			s.renew(ctx)
		case <-lapse.C:
			return errLapsed
		case <-sleep.C:
			// The monotonic clock stands still while the machine is suspended.
			if s.n.cfg.clock.Suspended()-s.asleep > 10*time.Millisecond {
				return errSuspended
			}
			sleep.Reset(s.real(lease / 60))
		}
		if s.beat != nil && s.beat.known && s.beat.at > 0 {
			if err := s.extend(); err != nil {
				return err
			}
			now, until := s.n.cfg.clock.Now(), *s.until.Load()
			lapse.Reset(s.real(until.Sub(now)))
			renew.Reset(s.real(renewAt(until, lease).Sub(now)))
		}
	}
}

func (s *session) real(d time.Duration) time.Duration { return s.n.cfg.clock.Real(d) }

func (s *session) timer(d time.Duration) *time.Timer { return time.NewTimer(s.real(d)) }

// newBeat makes a heartbeat, and takes the time before it is sent for the first time.
func (s *session) newBeat(h heartbeat, last fleetlog.Position) *beat {
	h.Version, h.Name, h.Address = s.n.cfg.version, s.n.cfg.Name, s.n.address
	t0 := s.n.cfg.clock.Now()
	lease := s.n.lease()
	entry := fleetlog.Entry{Key: s.id.key(), Value: marshal(h), ID: s.n.cfg.newID(), If: &last, TTL: keep * lease}
	return &beat{entry: entry, t0: t0, acked: make(chan fleetlog.Position, 1), fail: make(chan error, 1)}
}

// renew sends a heartbeat, unless one is on its way: its lease counts from the first
// sending, however often it is sent.
func (s *session) renew(ctx context.Context) {
	if s.beat != nil || !s.began {
		return
	}
	s.settle(ctx)
	h := heartbeat{Joined: s.first, Applied: fleetlog.Position(s.applied.Load()), Changes: slices.Concat(s.changes[0], s.changes[1])}
	s.changes = [2][]string{nil, s.changes[0]}
	b := s.newBeat(h, s.last)
	s.beat = b
	s.n.running.Go(func() {
		pos, err := s.n.append(ctx, b.entry, nil)
		if err != nil {
			b.fail <- err
			return
		}
		b.acked <- pos
	})
}

// settle writes into the log that it is older than a lease, so that no lease from an
// earlier log is left.
func (s *session) settle(ctx context.Context) {
	if s.settled || s.n.cfg.clock.Now().Sub(s.metaSeen) < allow(s.meta.Lease) {
		return
	}
	entry := fleetlog.Entry{Key: settledKey, Value: []byte(s.meta.Log), ID: s.n.cfg.newID()}
	s.n.running.Go(func() { s.n.log.Append(ctx, entry) }) // the next renewal tries again
}

// acknowledged checks the position of a heartbeat: if it is one that the session has
// passed, the log was rolled back, unless the heartbeat itself was delivered already.
func (s *session) acknowledged(pos fleetlog.Position) error {
	if pos != s.beat.at && (s.beat.at > 0 || pos <= fleetlog.Position(s.applied.Load())) {
		return fmt.Errorf("%w: it gave a position that was passed", errLog)
	}
	s.beat.known, s.beat.owed = true, s.n.cfg.clock.Now()
	return nil
}

// owed reports whether the follower owes a heartbeat: it is in the log, and has not been
// delivered.
func (s *session) owed() bool { return s.beat != nil && s.beat.known && s.beat.at == 0 }

// open begins to follow at the session's last heartbeat, so that everything that was
// applied since is delivered again, for the replay.
func (s *session) open(ctx context.Context) {
	s.pause = doubled(s.pause, s.n.cfg.Lease/100, s.n.cfg.Lease/10)
	s.follower, s.fresh = s.n.openFeed(ctx, s.last, s.pause), true
	if s.beat != nil {
		s.beat.owed = s.n.cfg.clock.Now()
	}
}

// reopen replaces the follower. The lease goes on meanwhile.
func (s *session) reopen(ctx context.Context, why error) {
	s.n.tell(Event{Kind: EventReopened, Position: fleetlog.Position(s.applied.Load()), Err: why})
	s.follower.close()
	s.open(ctx)
}

// handle applies a message, or compares it with what was applied at its position.
func (s *session) handle(ctx context.Context, m fleetlog.Message) error {
	if err := s.overlap(m); err != nil {
		return err
	}
	if m.Skipped && s.beat != nil && s.beat.at == 0 && s.began {
		s.beat.void = true
	}
	if m.Position <= fleetlog.Position(s.applied.Load()) {
		return nil
	}
	if err := s.own(m); err != nil {
		return err
	}
	counts := s.apply(ctx, m)
	s.replay.add(m)
	s.advance(m.Position)
	s.answer(m, counts)
	if m.Key == s.id.key() {
		s.beat.at, s.last = m.Position, m.Position
		s.anchor.Store(uint64(m.Position))
		s.replay.restart(m)
	}
	return nil
}

// overlap checks that the log continues from the last position that was delivered.
func (s *session) overlap(m fleetlog.Message) error {
	first := s.fresh
	s.fresh = false
	if m.Position <= fleetlog.Position(s.applied.Load()) {
		if !s.replay.matches(m) {
			return fmt.Errorf("%w: position %d holds another message", errLog, m.Position)
		}
		return nil
	}
	if first && m.Position > s.last && (s.beat == nil || s.beat.at > 0) {
		return fmt.Errorf("%w: the heartbeat at position %d has gone", errLog, s.last)
	}
	return nil
}

// own returns an error, which ends the session, if somebody else wrote what only this
// session writes, or if the log's identity has changed.
func (s *session) own(m fleetlog.Message) error {
	switch m.Key {
	case s.id.key():
		if s.beat == nil || s.beat.at > 0 || m.ID != s.beat.entry.ID {
			return fmt.Errorf("%w: somebody else wrote this node's heartbeat", errLog)
		}
	case metaKey:
		var meta metaRecord
		if json.Unmarshal(m.Value, &meta) != nil || m.Deleted || meta != s.meta {
			return fmt.Errorf("%w: its identity has changed", errLog)
		}
	case settledKey:
		s.settled = s.settled || string(m.Value) == s.meta.Log
	}
	return nil
}

// apply puts a message in force, and returns how many entries it evicted from each cache.
func (s *session) apply(ctx context.Context, m fleetlog.Message) map[string]int {
	s.n.hear(m, s.meta.Lease, s.id.n)
	switch e := effectOf(m); {
	case e.clear:
		return s.n.caches.Clear(ctx, tokencache.CauseNode)
	case e.document.Name != "":
		s.n.documentChanged(e.document)
	case e.selector.String() != "":
		return s.n.caches.Evict(ctx, tokencache.CauseNode, e.selector)
	}
	return nil
}

func (s *session) advance(pos fleetlog.Position) {
	s.applied.Store(uint64(pos))
	raise(&s.seen, uint64(pos))
}

// raise stores a value, unless the present one is higher.
func raise(to *atomic.Uint64, value uint64) {
	for known := to.Load(); known < value && !to.CompareAndSwap(known, value); {
		known = to.Load()
	}
}

// answer tells the node that asked for a change that it is in force here.
func (s *session) answer(m fleetlog.Message, counts map[string]int) {
	if !takesEffect(m.Key) {
		return
	}
	if m.ID != "" && len(s.changes[0]) < maxChanges {
		s.changes[0] = append(s.changes[0], m.ID)
	}
	s.n.tell(Event{Kind: EventApplied, Position: m.Position})
	var to struct{ Answer string }
	if json.Unmarshal(m.Value, &to) != nil || m.ID == "" {
		return
	}
	a := letter{Change: m.ID, Process: s.id.process, Session: s.id.n, Name: s.n.cfg.Name, Evicted: counts}
	if to.Answer == s.n.address {
		s.n.applied(a, s.meta)
	} else if to.Answer != "" {
		s.n.log.Send(to.Answer, marshal(a))
	}
}

// extend extends the lease: everything that was acknowledged before the heartbeat was
// sent has been applied.
func (s *session) extend() error {
	b := s.beat
	s.beat = nil
	now, until := s.n.cfg.clock.Now(), b.t0.Add(s.meta.Lease)
	s.n.waits = patient(now.Sub(b.owed), s.meta.Lease)
	if now.After(until) || s.began && now.After(*s.until.Load()) {
		return errLapsed
	}
	if s.n.cfg.clock.Suspended()-s.asleep > 10*time.Millisecond {
		return errSuspended
	}
	if b.void {
		return nil // the next one is sent at once
	}
	s.until.Store(&until)
	s.n.marked(watermark{b.t0, b.at, s.id.n})
	if !s.began {
		s.begin(until)
		return nil
	}
	s.n.caches.Lease(until)
	s.n.tell(Event{Kind: EventRenewed, Position: b.at, Duration: now.Sub(b.t0)})
	return nil
}

// begin clears, and then serves. In the other order, what was remembered before the
// session would be good again for a moment.
func (s *session) begin(until time.Time) {
	s.n.stateChanged(s.state(indexsource.HealthGreen))
	s.n.caches.Clear(context.Background(), tokencache.CauseNode)
	s.n.current.Store(s)
	s.n.caches.Lease(until)
	s.began = true
	s.n.mu.Lock()
	close(s.n.serving)
	s.n.since, s.n.stopped = s.n.cfg.clock.Now(), nil
	s.n.mu.Unlock()
	s.n.tell(Event{Kind: EventServing, Position: fleetlog.Position(s.applied.Load()), Duration: s.n.cfg.clock.Now().Sub(s.ended)})
}

func (s *session) state(health indexsource.Health) indexsource.State {
	return indexsource.State{Health: health, UUID: s.meta.Log, UpToDate: true}
}

// end stops answering, and then clears. The next session has another key, from which the
// other nodes know that this one is over.
func (s *session) end() {
	if !s.began {
		return
	}
	s.n.caches.Lease(s.n.cfg.clock.Now())
	s.n.current.Store(nil)
	s.n.caches.Clear(context.Background(), tokencache.CauseNode)
	s.n.stateChanged(s.state(indexsource.HealthRed))
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	s.n.serving, s.n.since = make(chan struct{}), s.n.cfg.clock.Now()
}

// leave deletes the heartbeat when the node closes, so that no change waits for the node.
func (s *session) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.n.log.Append(ctx, fleetlog.Entry{Key: s.id.key(), Delete: true, ID: s.n.cfg.newID(), TTL: keep * s.n.cfg.Lease})
}
