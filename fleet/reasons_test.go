package fleet

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/tokencache"
)

// TestReasons: the texts that operators read, and search for.
func TestReasons(t *testing.T) {
	for want, err := range map[string]error{
		"fleet: an earlier attempt may have been written":                                errUnsure,
		"it has not answered, and may still be serving":                                  errNoAnswer,
		"fleet: the log does not have the change any more":                               errLost,
		"fleet: fewer nodes share the log than Config.Nodes says":                        ErrFewNodes,
		"fleet: this node does not serve at present":                                     ErrNotServing,
		"it is malformed, or has fields that this version does not know":                 errUnknownRecord,
		"fleet: the log is not the one that was followed":                                errLog,
		"fleet: the lease ran out before it was renewed":                                 errLapsed,
		"fleet: the log refused the heartbeat":                                           errRefused,
		"fleet: the machine was suspended":                                               errSuspended,
		"fleet: the heartbeat was acknowledged, and is not delivered":                    errUnseen,
		"fleet: the replica is behind":                                                   errBehind,
		"fleet: the log has no identity yet":                                             errNoMeta,
		"fleet: a later change has taken the key of this one":                            errTaken,
		"fleet: this is not a log to join":                                               errWrongLog,
		"fleet: the log is of a later version":                                           ErrVersion,
		"fleet: an earlier attempt may have been written: fleetlog: the key has changed": second(concludeAppend(fleetlog.ErrConflict, true)),
		"fleet: the log is of a later version: the log's is 2, this node knows 1":        second(Config{version: 1}.joins([]byte(`{"version":2}`))),
		"fleet: this is not a log to join: it is L, and Config.Log says M":               second(Config{version: 1, Log: "M"}.joins([]byte(`{"version":1,"log":"L","lease_ns":100000000}`))),
		`fleet: this is not a log to join: the log's key "meta" is malformed`:            second(Config{version: 1}.joins(nil)),
		"fleet: document a/b/c: it is malformed, or has fields that this version does not know": third(parseDoc(
			fleetlog.Message{Position: 1, Value: []byte("?")}, tokencache.Account{Namespace: "a", Service: "b"}.TokenID("c"))),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func third[T, U any](_ T, _ U, err error) error { return err }

// TestAcknowledged: if a log gives a heartbeat a position that this node has passed, the
// log was rolled back, unless the heartbeat was delivered there.
func TestAcknowledged(t *testing.T) {
	n := &Node{cfg: Config{clock: systemClock{}}}
	for _, tt := range []struct {
		name           string
		applied, at, p fleetlog.Position
		wrong          bool
	}{
		{"it is the next", 5, 0, 6, false},
		{"it was passed", 5, 0, 5, true},
		{"it was delivered there", 6, 6, 6, false},
		{"it was delivered elsewhere", 6, 6, 7, true},
	} {
		s := newSession(n, sessionID{"a", 1}, t1)
		s.applied.Store(uint64(tt.applied))
		s.beat = &beat{at: tt.at}
		err := s.acknowledged(tt.p)
		if (err != nil) != tt.wrong || s.beat.known == tt.wrong || tt.wrong && err.Error() != "fleet: the log is not the one that was followed: it gave a position that was passed" {
			t.Errorf("%s: %v, known %v", tt.name, err, s.beat.known)
		}
		if s.owed() != (err == nil && tt.at == 0) {
			t.Errorf("%s: owed %v", tt.name, s.owed())
		}
	}
}

// TestRecent: a view has to be of the session's log, and not older than what was seen.
func TestRecent(t *testing.T) {
	s := newSession(&Node{cfg: Config{clock: systemClock{}}}, sessionID{"a", 1}, t1)
	s.meta.Log = "L"
	in := func(log string, at, beat fleetlog.Position) fleetlog.View {
		return fleetlog.View{Position: at, Messages: map[string]fleetlog.Message{"node.a.1": {Position: beat}, metaKey: message(1, "", `{"log":"`+log+`"}`)}}
	}
	view := func(at, beat fleetlog.Position) fleetlog.View { return in("L", at, beat) }
	for _, tt := range []struct {
		v    fleetlog.View
		want string
	}{
		{view(9, 7), ""}, {view(10, 8), ""},
		{view(8, 7), "fleet: the replica is behind"},
		{view(9, 6), "fleet: the log is not the one that was followed: a read answered from another"},
		{view(9, 0), "fleet: the log is not the one that was followed: a read answered from another"},
		{in("M", 9, 7), "fleet: the log is not the one that was followed: a read answered from another"},
		{in("", 9, 7), "fleet: the log is not the one that was followed: a read answered from another"},
	} {
		if err := s.recent(tt.v, 9, 7); (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%+v: %v, want %q", tt.v, err, tt.want)
		}
	}
}

// A nobody is empty caches.
type nobody struct{}

func (nobody) Evict(context.Context, tokencache.Cause, ...tokencache.Selector) map[string]int {
	return nil
}
func (nobody) Clear(context.Context, tokencache.Cause) map[string]int { return nil }
func (nobody) Lease(time.Time)                                        {}

// TestVoid: a heartbeat before which something was skipped neither extends the lease nor
// proves anything about others.
func TestVoid(t *testing.T) {
	for _, void := range []bool{false, true} {
		n := &Node{cfg: Config{clock: systemClock{}}, caches: nobody{}}
		s := newSession(n, sessionID{"a", 1}, t1)
		t0 := time.Now()
		until := t0.Add(time.Minute)
		s.meta.Lease, s.began = testLease, true
		s.until.Store(&until)
		s.beat = &beat{t0: t0, at: 9, known: true, void: void}
		if err := s.extend(); err != nil {
			t.Fatal(err)
		}
		want, mark := t0.Add(testLease), watermark{t0, 9, 1}
		if void {
			want, mark = until, watermark{}
		}
		if got := *s.until.Load(); !got.Equal(want) || n.mark != mark || s.beat != nil {
			t.Errorf("void %v: the lease runs until %v, want %v; the watermark is %+v", void, got, want, n.mark)
		}
	}
}

// A viewed log returns one view to everybody.
type viewed struct {
	fleetlog.Log
	view fleetlog.View
}

func (v viewed) Read(context.Context, ...string) (fleetlog.View, error) { return v.view, nil }

// TestMembershipOfALostChange: a log that has passed the position of a change without
// having it has lost it, even if it has everything else. Earlier views no longer count.
func TestMembershipOfALostChange(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   fleetlog.Position
		want error
	}{{"it is there", changed, nil}, {"it has gone", 0, errLost}, {"an earlier one is there", changed - 1, errLost}} {
		view := fleetlog.View{Position: changed + 5, Messages: map[string]fleetlog.Message{
			metaKey: message(1, "", `{"version":1,"log":"L","lease_ns":15000000000}`), settledKey: message(2, "", "L"), "node.b.1": message(3, "b", "{}"),
		}}
		if tt.at > 0 {
			view.Messages["evict.x"] = message(tt.at, "x", "")
		}
		n := &Node{log: viewed{view: view}, cfg: Config{clock: systemClock{}, Lease: testLease}}
		c := &change{entry: fleetlog.Entry{Key: "evict.x", ID: "x"}, failed: errors.New("an outage that is over")}
		r, err := n.readMembership(t.Context(), c, changed)
		if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || (r == nil) != (err != nil) || r != nil && len(r.members) != 1 {
			t.Errorf("%s: %+v, %v", tt.name, r, err)
		}
		if c.failed != nil {
			t.Errorf("%s: the log said last %v", tt.name, c.failed)
		}
	}
}

// TestReadyWithout: the error of a node that does not serve says why.
func TestReadyWithout(t *testing.T) {
	down := errors.New("down")
	n := &Node{serving: make(chan struct{}), ctx: context.Background()}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, want := range []string{"fleet: this node does not serve at present: context canceled", "fleet: this node does not serve at present: context canceled: down"} {
		if err := n.Ready(ended); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		n.doubt(down)
	}
	n.ctx = ended
	if err := n.Ready(t.Context()); err == nil || err.Error() != "fleet: this node does not serve at present: "+tokencache.ErrClosed.Error() {
		t.Errorf("got %v", err)
	}
}
