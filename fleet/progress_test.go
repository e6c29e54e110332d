package fleet

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// These tests are in the package itself: they test what a change decides, which cannot be
// seen from outside without a log and a clock.

const (
	testLease = 15 * time.Second
	changed   = fleetlog.Position(100) // the position of the change
)

var (
	t1    = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	other = sessionID{"b", 2}
)

// at returns a time relative to the acknowledgement.
func at(d time.Duration) time.Time { return t1.Add(d) }

// silent returns a member that has not heard of the change.
func silent(edits ...func(*member)) member {
	m := member{id: other, beat: heartbeat{Name: "B", Joined: 10, Applied: 80}, at: 90, append: "beat90", viewed: true}
	for _, edit := range edits {
		edit(&m)
	}
	return m
}

func settledWith(members ...member) *membership {
	return &membership{meta: metaRecord{1, "log", testLease}, settled: true, members: members}
}

func heardOf(m member, when time.Duration) map[string]hearing {
	return map[string]hearing{m.id.process: {member: m, heard: at(when), until: at(when + allow(testLease)), by: 3}}
}

func answersOf(ids ...sessionID) map[sessionID]letter {
	answers := make(map[sessionID]letter)
	for _, id := range ids {
		answers[id] = letter{Process: id.process, Session: id.n, Evicted: map[string]int{"index": id.n}}
	}
	return answers
}

func TestDecide(t *testing.T) {
	joinedAfter := silent(func(m *member) { m.beat.Joined = 101 })
	first := silent(func(m *member) { m.beat = heartbeat{Name: "B", First: true}; m.at = 101 })
	heardOnly := func(m member) member { m.viewed = false; return m }
	over := watermark{t0: at(2 * testLease), pos: 200, session: 3}
	for _, tt := range []struct {
		name  string
		p     progress
		k     knowledge
		after time.Duration // the acknowledgement
		want  decision
	}{
		{name: "nobody was read", p: progress{lease: testLease}, want: waits},
		{name: "nobody else is there", p: progress{lease: testLease, read: settledWith()}, want: done},
		{name: "the log is young", p: progress{lease: testLease, read: &membership{}}, want: waits},
		{name: "silent", p: progress{lease: testLease, read: settledWith(silent())}, want: waits},
		{name: "silent until just before the deadline", p: progress{lease: testLease, read: settledWith(silent())}, after: allow(testLease) - 1, want: waits},
		{name: "silent until the deadline", p: progress{lease: testLease, read: settledWith(silent())}, after: allow(testLease), want: lapsed},
		{name: "the deadline, and nobody was read", p: progress{lease: testLease}, after: allow(testLease), want: lapsed},
		{name: "the lease is not known", p: progress{}, after: time.Hour, want: waits},
		{name: "it has answered", p: progress{lease: testLease, read: settledWith(silent())}, k: knowledge{answers: answersOf(other)}, want: done},
		{name: "another session of it has answered", p: progress{lease: testLease, read: settledWith(silent())}, k: knowledge{answers: answersOf(sessionID{"b", 1})}, want: waits},
		{name: "its heartbeat names the change", p: progress{lease: testLease, read: settledWith(silent(func(m *member) { m.beat.Changes = []string{"x", "change"} }))}, want: done},
		{name: "its heartbeat names others", p: progress{lease: testLease, read: settledWith(silent(func(m *member) { m.beat.Changes = []string{"x"} }))}, want: waits},
		{name: "it has left", p: progress{lease: testLease, read: settledWith(silent(func(m *member) { m.left = true }))}, want: done},
		{name: "it joined after the change", p: progress{lease: testLease, read: settledWith(joinedAfter)}, want: done},
		{name: "it joined with the change", p: progress{lease: testLease, read: settledWith(silent(func(m *member) { m.beat.Joined = changed }))}, want: waits},
		{name: "its first heartbeat is after the change", p: progress{lease: testLease, read: settledWith(first)}, want: done},
		{name: "a heartbeat that does not say when it joined", p: progress{lease: testLease, read: settledWith(silent(func(m *member) { m.beat = heartbeat{}; m.at = 101 }))}, want: waits},
		{name: "it was heard to join after the change, in a log that may be another", p: progress{lease: testLease, read: settledWith(heardOnly(first))},
			k: knowledge{heard: heardOf(first, time.Second)}, want: waits},
		{name: "it was heard to join after this node had applied the change", p: progress{lease: testLease, read: settledWith(heardOnly(first))},
			k: knowledge{heard: heardOf(first, time.Second), answers: answersOf(sessionID{"a", 3})}, want: done},
		{name: "it was heard to join by another session than the one that applied the change", p: progress{lease: testLease, read: settledWith(heardOnly(first))},
			k: knowledge{heard: heardOf(first, time.Second), answers: answersOf(sessionID{"a", 2})}, want: waits},
		{name: "another session of it was heard to join", p: progress{lease: testLease, read: settledWith(heardOnly(first))},
			k: knowledge{heard: heardOf(member{id: sessionID{"b", 1}}, time.Second), answers: answersOf(sessionID{"a", 3})}, want: waits},
		{name: "this node has not applied it", p: progress{lease: testLease, read: settledWith(silent(func(m *member) { m.id.process = "a" }))}, want: waits},
		{name: "its lease is over", p: progress{lease: testLease, read: settledWith(silent())}, k: knowledge{heard: heardOf(silent(), -testLease), mark: over}, want: done},
		{name: "one of two is over", p: progress{lease: testLease, read: settledWith(silent(), silent(func(m *member) { m.id.process = "c" }))},
			k: knowledge{heard: heardOf(silent(), -testLease), mark: over}, want: waits},
		{name: "the log gave a later heartbeat an earlier position", p: progress{lease: testLease, read: settledWith(silent())}, k: knowledge{mark: watermark{t0: at(1), pos: 99}}, want: lost},
		{name: "the log gave an earlier heartbeat an earlier position", p: progress{lease: testLease, read: settledWith(silent())}, k: knowledge{mark: watermark{t0: at(0), pos: 99}}, want: waits},
		{name: "the log gave a later heartbeat a later position", p: progress{lease: testLease, read: settledWith(silent())}, k: knowledge{mark: watermark{t0: at(1), pos: 101}}, want: waits},
		{name: "it goes before every node has read it", p: progress{lease: testLease, ttl: keep*testLease - 1, read: settledWith(silent())}, want: lost},
		{name: "it goes before every node has read it, and the deadline", p: progress{lease: testLease, ttl: keep*testLease - 1}, after: allow(testLease), want: lost},
		{name: "it stays for long enough", p: progress{lease: testLease, ttl: keep * testLease, read: settledWith(silent())}, want: waits},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.p.id, tt.p.pos, tt.p.t1 = "change", changed, t1
			tt.k.own, tt.k.now = "a", at(tt.after)
			if got := tt.p.decide(tt.k); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestOver(t *testing.T) {
	h := heardOf(silent(), 0)["b"]
	for _, tt := range []struct {
		name string
		mark watermark
		m    member
		want bool
	}{
		{"sent after its lease", watermark{t0: h.until.Add(1), session: 3}, silent(), true},
		{"sent when its lease ends", watermark{t0: h.until, session: 3}, silent(), false},
		{"sent by another session", watermark{t0: h.until.Add(1), session: 4}, silent(), false},
		{"another session of it", watermark{t0: h.until.Add(1), session: 3}, silent(func(m *member) { m.id.n = 3 }), false},
		{"another process", watermark{t0: h.until.Add(1), session: 3}, silent(func(m *member) { m.id.process = "c" }), false},
		{"another heartbeat", watermark{t0: h.until.Add(1), session: 3}, silent(func(m *member) { m.append = "beat95" }), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.mark.over(h, tt.m); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	none := hearing{}
	if (watermark{t0: at(time.Hour)}).over(none, member{}) {
		t.Error("a heartbeat that nobody heard, without an ID, counts as over")
	}
}

func TestReport(t *testing.T) {
	dead := silent(func(m *member) { m.id.process, m.beat.Name, m.append = "d", "D", "beatD" })
	read := settledWith(
		silent(func(m *member) { m.id.process, m.beat.Name = "a", "A" }), // this node
		silent(),
		silent(func(m *member) { m.id.process, m.beat.Name = "c", "C" }),
		dead,
		silent(func(m *member) { m.id.process, m.left = "e", true }),
		silent(func(m *member) { m.id.process, m.beat.Name, m.beat.Joined = "f", "F", 101 }),
	)
	k := knowledge{own: "a", answers: answersOf(sessionID{"c", 2}), heard: heardOf(dead, -testLease), mark: watermark{t0: at(testLease), pos: 200, session: 3}}
	until := at(allow(testLease))
	for _, tt := range []struct {
		name   string
		p      progress
		lapsed bool
		want   []evict.Node
	}{
		{"some are silent", progress{lease: testLease, read: read}, false, []evict.Node{
			{ID: "b", Name: "B", Err: errNoAnswer, UnconfirmedUntil: until},
			{ID: "c", Name: "C", Evicted: map[string]int{"index": 2}},
			{ID: "d", Name: "D", NotServingSince: at(allow(testLease) - testLease)},
			{ID: "f", Name: "F"},
		}},
		{"the deadline has passed", progress{lease: testLease, read: read}, true, []evict.Node{
			{ID: "b", Name: "B", NotServingSince: until},
			{ID: "c", Name: "C", Evicted: map[string]int{"index": 2}},
			{ID: "d", Name: "D", NotServingSince: at(allow(testLease) - testLease)},
			{ID: "f", Name: "F"},
		}},
		{"nobody was read", progress{lease: testLease}, true, []evict.Node{{ID: "d", Name: "D", NotServingSince: at(allow(testLease) - testLease)}}},
		{"the lease is not known", progress{read: settledWith(silent())}, false, []evict.Node{{ID: "b", Name: "B", Err: errNoAnswer}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.p.id, tt.p.pos, tt.p.t1 = "change", changed, t1
			if diff := cmp.Diff(tt.want, tt.p.report(k, tt.lapsed), cmpopts.EquateErrors()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	for _, tt := range []struct {
		p    progress
		want int
	}{{progress{read: read}, 5}, {progress{read: settledWith()}, 1}, {progress{}, 2}} {
		if got := tt.p.nodes(k); got != tt.want {
			t.Errorf("%d nodes, want %d", got, tt.want)
		}
	}
}

func message(pos fleetlog.Position, id, value string) fleetlog.Message {
	return fleetlog.Message{Position: pos, ID: id, Value: []byte(value)}
}

func TestReadMembership(t *testing.T) {
	view := fleetlog.View{Position: 120, Messages: map[string]fleetlog.Message{
		metaKey:       message(1, "", `{"version":1,"log":"L","lease_ns":15000000000}`),
		settledKey:    message(2, "", "L"),
		"node.b.1":    message(50, "b1", `{"name":"B","first":true}`),
		"node.b.2":    message(90, "b2", `{"name":"B","joined":80}`),
		"node.a.1":    message(91, "a1", `{"name":"A","joined":7}`),
		"node.c.9":    message(92, "c9", `?`),
		"node.x":      message(93, "x", `{}`),
		"evict.1":     message(94, "1", `{}`),
		"node.left.1": {Position: 95, ID: "l", Deleted: true},
	}}
	ids := func(r *membership) (got []string) {
		for _, m := range r.members {
			got = append(got, m.id.key()+" "+m.append)
		}
		return got
	}
	r := readMembership(view, nil)
	if diff := cmp.Diff([]string{"node.a.1 a1", "node.b.2 b2", "node.c.9 c9", "node.left.1 l"}, ids(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r.meta != (metaRecord{1, "L", testLease}) || !r.settled || !r.members[0].viewed || r.members[0].joined() != 7 || r.members[2].joined() != 0 || !r.members[3].left || r.members[1].beat.Name != "B" {
		t.Errorf("got %+v", r)
	}
	heard := map[string]hearing{
		"b": {member: member{id: sessionID{"b", 2}, at: 85, append: "earlier"}},
		"a": {member: member{id: sessionID{"a", 1}, at: 99, append: "later"}},
		"c": {member: member{id: sessionID{"c", 10}, at: 3, append: "next session"}},
		"d": {member: member{id: sessionID{"d", 1}, at: 4, append: "heard alone"}},
	}
	r = readMembership(view, heard)
	if diff := cmp.Diff([]string{"node.a.1 later", "node.b.2 b2", "node.c.10 next session", "node.d.1 heard alone", "node.left.1 l"}, ids(r)); diff != "" {
		t.Errorf("with the heard members (-want +got):\n%s", diff)
	}
	if r.members[0].viewed {
		t.Error("members that were only heard count as read")
	}
	for name, settled := range map[string]fleetlog.Message{
		"another log's": message(2, "", "M"), "taken away": {Value: []byte("L"), Deleted: true}, "missing": {},
	} {
		view.Messages[settledKey] = settled
		if readMembership(view, nil).settled {
			t.Errorf("settled, with the mark %s", name)
		}
	}
	delete(view.Messages, metaKey)
	view.Messages[settledKey] = fleetlog.Message{}
	if r := readMembership(view, nil); r.settled || r.meta.Log != "" {
		t.Errorf("without an identity: %+v", r)
	}
}

func TestCovers(t *testing.T) {
	entry := fleetlog.Entry{Key: "doc.a.b.c", ID: "mine"}
	meta := message(1, "", `{"version":1,"log":"L","lease_ns":15000000000}`)
	for _, tt := range []struct {
		name string
		at   fleetlog.Position
		doc  fleetlog.Message
		meta fleetlog.Message
		log  string // that this node has applied the change in
		want error
	}{
		{"the change is there", 100, message(100, "mine", ""), meta, "", nil},
		{"before the change", 99, message(100, "mine", ""), meta, "", errBehind},
		{"no identity", 100, message(100, "mine", ""), fleetlog.Message{}, "", errNoMeta},
		{"an identity without a lease", 100, message(100, "mine", ""), message(1, "", `{"log":"L"}`), "", errNoMeta},
		{"a lease without an identity", 100, message(100, "mine", ""), message(1, "", `{"lease_ns":15000000000}`), "", errNoMeta},
		{"a lease that is just long enough", 100, message(100, "mine", ""), message(1, "", `{"log":"L","lease_ns":100000000}`), "", nil},
		{"a later change, in a log that is not known", 200, message(150, "another", ""), meta, "", errTaken},
		{"another change at the same place", 200, message(100, "another", ""), meta, "", errTaken},
		{"a later change, in the log that has this one", 200, message(150, "another", ""), meta, "L", nil},
		{"a later change, in another log", 200, message(150, "another", ""), meta, "M", errTaken},
		{"the change, at another place", 200, message(150, "mine", ""), meta, "", errTaken},
		{"the change, at another place of a log that has this one", 200, message(150, "mine", ""), meta, "L", nil},
		{"the change has gone", 200, message(50, "earlier", ""), meta, "", nil},
		{"the key has gone", 200, fleetlog.Message{}, meta, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := fleetlog.View{Position: tt.at, Messages: map[string]fleetlog.Message{entry.Key: tt.doc, metaKey: tt.meta}}
			if got := covers(v, entry, changed, metaRecord{Log: tt.log}); !errors.Is(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
