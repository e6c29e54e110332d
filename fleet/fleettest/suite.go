package fleettest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/tokencache"
)

// A Bench is an empty log for [Suite], with functions that disturb it. If a function is
// nil, the tests that need it are skipped.
type Bench struct {
	// Connect returns the log, with a connection of its own.
	Connect func(t *testing.T) fleetlog.Log

	Cut, Heal func(log fleetlog.Log) // the connection of one node
	Restart   func()                 // restarts every server; the log stays
	Recreate  func()                 // deletes the log and makes it anew
	RollBack  func(meanwhile func()) // restores the log as it was before meanwhile was called
}

// Suite tests a log against the contract of fleetlog.Log, with a new log for each
// test. It takes some seconds of real time.
func Suite(t *testing.T, bench func(t *testing.T) Bench) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, b Bench)
	}{
		{"ordered: every follower delivers all messages in one order", ordered},
		{"complete: a late follower delivers the last message of each key, and says what it left out", complete},
		{"conditional: an append on a condition happens on it alone", conditional},
		{"repeated: an ID is written once", repeated},
		{"superseded: an ID is written once, even if its key has changed since", superseded},
		{"barrier: an append comes after what was acknowledged, and reads reach it", barrier},
		{"viewed: a read shows keys and prefixes as of its position", viewed},
		{"kept: a message stays for its TTL, and goes", kept},
		{"answered: what is sent to an address arrives", answered},
		{"bounded: methods end with their context while the log is cut off", bounded},
		{"resumed: a follower misses nothing over a cut, or says so", resumed},
		{"restarted: acknowledged messages outlive the servers", restarted},
		{"replaced: a follower notices that the log was made anew", replaced},
		{"rolled back: a follower notices that the log was rolled back", rolledBack},
		{"acknowledged: nodes clear before they serve, and an eviction waits for each", acknowledged},
		{"lapsed: an eviction waits for the lease of a node that is cut off", lapsed},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, bench(t)) })
	}
}

func need(t *testing.T, can bool) {
	t.Helper()
	if !can {
		t.Skip("the harness cannot do this")
	}
}

func mustAppend(t *testing.T, e fleetlog.Log, entry fleetlog.Entry) fleetlog.Position {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		pos, err := e.Append(ctx, entry)
		if err == nil {
			return pos
		}
		if errors.Is(err, fleetlog.ErrConflict) || ctx.Err() != nil || entry.ID == "" {
			t.Fatalf("append %s: %v", entry.Key, err)
		}
	}
}

// collect follows until a message of this key is delivered. If a follower fails, as it
// does if the log is slow, another one continues after the last message.
func collect(t *testing.T, e fleetlog.Log, from fleetlog.Position, last string) []fleetlog.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []fleetlog.Message
	for {
		f, err := e.Follow(ctx, from)
		for err == nil {
			var m fleetlog.Message
			if m, err = f.Next(ctx); err != nil {
				f.Close()
				break
			}
			if m.Position < from {
				t.Fatalf("position %d came after %d", m.Position, from-1)
			}
			from = m.Position + 1
			got = append(got, m)
			if m.Key == last {
				f.Close()
				return got
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("after %d messages: %v", len(got), err)
		}
	}
}

func ordered(t *testing.T, b Bench) {
	logs := []fleetlog.Log{b.Connect(t), b.Connect(t), b.Connect(t)}
	const each = 40
	start := mustAppend(t, logs[0], fleetlog.Entry{Key: "evict.start", ID: "start"})
	var wg sync.WaitGroup
	for i, e := range logs {
		wg.Go(func() {
			for j := range each {
				id := fmt.Sprintf("%d-%d", i, j)
				if _, err := e.Append(t.Context(), fleetlog.Entry{Key: "evict." + id, ID: id, Value: []byte(id)}); err != nil {
					t.Errorf("append %s: %v", id, err)
				}
			}
		})
	}
	wg.Wait()
	mustAppend(t, logs[0], fleetlog.Entry{Key: "evict.end", ID: "end"})
	var first []fleetlog.Message
	for i, e := range logs {
		got := collect(t, e, start, "evict.end")
		if want := 2 + each*len(logs); len(got) != want {
			t.Fatalf("follower %d delivered %d messages, want %d", i, len(got), want)
		}
		for _, m := range got[1 : len(got)-1] {
			if m.Skipped || m.ID != string(m.Value) || m.Key != "evict."+m.ID || m.Deleted {
				t.Fatalf("follower %d delivered %+v", i, m)
			}
		}
		if first == nil {
			first = got
		}
		if !slices.EqualFunc(first, got, func(a, b fleetlog.Message) bool { return a.Position == b.Position && a.Key == b.Key }) {
			t.Errorf("followers 0 and %d delivered in another order", i)
		}
	}
}

func complete(t *testing.T, b Bench) {
	e := b.Connect(t)
	start := mustAppend(t, e, fleetlog.Entry{Key: "start", ID: "start"})
	for i := range 5 {
		mustAppend(t, e, fleetlog.Entry{Key: "doc.a.b.c", ID: "doc" + strconv.Itoa(i), Value: []byte{byte('0' + i)}})
	}
	mustAppend(t, e, fleetlog.Entry{Key: "doc.a.b.d", ID: "other"})
	mustAppend(t, e, fleetlog.Entry{Key: "doc.a.b.d", ID: "delete", Delete: true})
	mustAppend(t, e, fleetlog.Entry{Key: "end", ID: "end"})
	got := collect(t, e, start, "end")
	var brief []string
	for _, m := range got {
		brief = append(brief, fmt.Sprintf("%s %q deleted=%v skipped=%v", m.Key, m.Value, m.Deleted, m.Skipped))
	}
	want := []string{
		`start "" deleted=false skipped=false`,
		`doc.a.b.c "4" deleted=false skipped=true`,
		`doc.a.b.d "" deleted=true skipped=true`,
		`end "" deleted=false skipped=false`,
	}
	if !slices.Equal(brief, want) {
		t.Errorf("got %q, want %q", brief, want)
	}
}

func conditional(t *testing.T, b Bench) {
	e := b.Connect(t)
	none := new(fleetlog.Position)
	first := mustAppend(t, e, fleetlog.Entry{Key: "doc.a.b.c", ID: "1", If: none})
	if _, err := e.Append(t.Context(), fleetlog.Entry{Key: "doc.a.b.c", ID: "2", If: none}); !errors.Is(err, fleetlog.ErrConflict) {
		t.Errorf("a second creation: %v, want ErrConflict", err)
	}
	second := mustAppend(t, e, fleetlog.Entry{Key: "doc.a.b.c", ID: "3", If: &first})
	if _, err := e.Append(t.Context(), fleetlog.Entry{Key: "doc.a.b.c", ID: "4", If: &first}); !errors.Is(err, fleetlog.ErrConflict) {
		t.Errorf("an update of what was replaced: %v, want ErrConflict", err)
	}
	mustAppend(t, e, fleetlog.Entry{Key: "doc.a.b.d", ID: "5", If: none})
	mustAppend(t, e, fleetlog.Entry{Key: "doc.a.b.c", ID: "6", If: &second})
}

func repeated(t *testing.T, b Bench) {
	e := b.Connect(t)
	first := mustAppend(t, e, fleetlog.Entry{Key: "node.x.1", ID: "1", If: new(fleetlog.Position)})
	mustAppend(t, e, fleetlog.Entry{Key: "evict.1", ID: "2"})
	again, err := b.Connect(t).Append(t.Context(), fleetlog.Entry{Key: "node.x.1", ID: "1", If: new(fleetlog.Position)})
	if err != nil || again != first {
		t.Errorf("the second attempt: position %d, %v; want %d", again, err, first)
	}
}

// superseded repeats an append whose answer may have been lost, after somebody else has
// changed the key: a second write would bring back what was deleted.
func superseded(t *testing.T, b Bench) {
	e := b.Connect(t)
	none := new(fleetlog.Position)
	first := mustAppend(t, e, fleetlog.Entry{Key: "doc.a.b.c", ID: "1", Value: []byte("old"), If: none})
	second := mustAppend(t, e, fleetlog.Entry{Key: "doc.a.b.c", ID: "2", If: &first, Delete: true})
	again, err := b.Connect(t).Append(t.Context(), fleetlog.Entry{Key: "doc.a.b.c", ID: "1", Value: []byte("old"), If: none})
	if errors.Is(err, fleetlog.ErrConflict) {
		again, err = first, nil // that is allowed, too
	}
	if err != nil || again != first {
		t.Errorf("the second attempt: position %d, %v; want %d", again, err, first)
	}
	end := mustAppend(t, e, fleetlog.Entry{Key: "end", ID: "3"})
	view := reads(t, e, end, "doc.a.b.c", "end")
	if m := view.Messages["doc.a.b.c"]; m.Position != 0 && (m.Position != second || !m.Deleted) {
		t.Errorf("the key holds %+v, want what was written last", m)
	}
}

func barrier(t *testing.T, b Bench) {
	a, c := b.Connect(t), b.Connect(t)
	var last fleetlog.Position
	for i := range 20 {
		e := []fleetlog.Log{a, c}[i%2]
		id := strconv.Itoa(i)
		pos := mustAppend(t, e, fleetlog.Entry{Key: "evict." + id, ID: id})
		if pos <= last {
			t.Fatalf("position %d came after %d was acknowledged", pos, last)
		}
		last = pos
		reads(t, []fleetlog.Log{c, a}[i%2], pos, "evict."+id)
	}
}

// reads reads keys until the view is at a position or later.
func reads(t *testing.T, e fleetlog.Log, least fleetlog.Position, keys ...string) fleetlog.View {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		view, err := e.Read(ctx, keys...)
		if err == nil && view.Position >= least {
			return view
		}
		if ctx.Err() != nil {
			t.Fatalf("no view of position %d: the last is of %d, %v", least, view.Position, err)
		}
	}
}

func viewed(t *testing.T, b Bench) {
	e := b.Connect(t)
	mustAppend(t, e, fleetlog.Entry{Key: "meta", ID: "1", Value: []byte("m")})
	mustAppend(t, e, fleetlog.Entry{Key: "node.a.1", ID: "2", Value: []byte("a")})
	mustAppend(t, e, fleetlog.Entry{Key: "node.b.1", ID: "3", Value: []byte("old")})
	last := mustAppend(t, e, fleetlog.Entry{Key: "node.b.1", ID: "4", Value: []byte("b")})
	end := mustAppend(t, e, fleetlog.Entry{Key: "nodes", ID: "5"})
	view := reads(t, e, end, "meta", "node.*", "absent")
	if len(view.Messages) != 3 || view.Messages["node.b.1"].Position != last || string(view.Messages["node.b.1"].Value) != "b" || view.Messages["node.b.1"].ID != "4" {
		t.Errorf("got %+v", view)
	}
	if view, err := e.Read(t.Context(), "absent"); err != nil || len(view.Messages) != 0 {
		t.Errorf("a view of nothing: %+v, %v", view, err)
	}
}

func kept(t *testing.T, b Bench) {
	e := b.Connect(t)
	mustAppend(t, e, fleetlog.Entry{Key: "meta", ID: "1"})
	began := time.Now()
	pos := mustAppend(t, e, fleetlog.Entry{Key: "evict.1", ID: "2", TTL: 2 * time.Second})
	for {
		view := reads(t, e, pos, "meta", "evict.1")
		_, there := view.Messages["evict.1"]
		age := time.Since(began)
		if !there && age < 2*time.Second {
			t.Fatalf("it has gone after %v", age)
		}
		if !there {
			return
		}
		if age > 30*time.Second {
			t.Fatalf("it is there after %v", age)
		}
	}
}

func answered(t *testing.T, b Bench) {
	a, c := b.Connect(t), b.Connect(t)
	got := make(chan string, 16)
	address, stop, err := a.Listen(func(data []byte) { got <- string(data) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for {
		c.Send(address, []byte("hello"))
		select {
		case data := <-got:
			if data != "hello" {
				t.Errorf("got %q", data)
			}
			return
		case <-time.After(time.Second): // it may be lost
		case <-t.Context().Done():
			t.Fatal("nothing arrived")
		}
	}
}

func bounded(t *testing.T, b Bench) {
	need(t, b.Cut != nil)
	e := b.Connect(t)
	pos := mustAppend(t, e, fleetlog.Entry{Key: "meta", ID: "1"})
	f, err := e.Follow(t.Context(), pos+1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b.Cut(e)
	defer b.Heal(e)
	for name, call := range map[string]func(context.Context) error{
		"Append": func(ctx context.Context) error {
			_, err := e.Append(ctx, fleetlog.Entry{Key: "x", ID: "2"})
			return err
		},
		"Read":   func(ctx context.Context) error { _, err := e.Read(ctx, "meta"); return err },
		"Follow": func(ctx context.Context) error { _, err := e.Follow(ctx, 1); return err },
		"Next":   func(ctx context.Context) error { _, err := f.Next(ctx); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		began := time.Now()
		if err := call(ctx); err == nil {
			t.Errorf("%s succeeds while the log is cut off", name)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s took %v after its context ended", name, took)
		}
		cancel()
	}
}

func resumed(t *testing.T, b Bench) {
	need(t, b.Cut != nil)
	writer, e := b.Connect(t), b.Connect(t)
	pos := mustAppend(t, writer, fleetlog.Entry{Key: "start", ID: "start"})
	f, err := e.Follow(t.Context(), pos)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b.Cut(e)
	for i := range 10 {
		id := strconv.Itoa(i)
		mustAppend(t, writer, fleetlog.Entry{Key: "evict." + id, ID: id})
	}
	b.Heal(e)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for i := -1; i < 10; i++ {
		m, err := f.Next(ctx)
		if err != nil {
			t.Logf("after the cut: %v", err) // that is allowed
			return
		}
		if i >= 0 && m.Key != "evict."+strconv.Itoa(i) {
			t.Fatalf("message %d after the cut is %s", i, m.Key)
		}
	}
}

func restarted(t *testing.T, b Bench) {
	need(t, b.Restart != nil)
	e := b.Connect(t)
	pos := mustAppend(t, e, fleetlog.Entry{Key: "doc.a.b.c", ID: "1", Value: []byte("x")})
	b.Restart()
	view := reads(t, e, pos, "doc.a.b.c")
	if string(view.Messages["doc.a.b.c"].Value) != "x" {
		t.Errorf("got %+v", view)
	}
	if next := mustAppend(t, e, fleetlog.Entry{Key: "doc.a.b.c", ID: "2", If: &pos}); next <= pos {
		t.Errorf("position %d came after %d", next, pos)
	}
}

func replaced(t *testing.T, b Bench) {
	need(t, b.Recreate != nil)
	notices(t, b, func(fleetlog.Log) { b.Recreate() })
}

func rolledBack(t *testing.T, b Bench) {
	need(t, b.RollBack != nil)
	notices(t, b, func(e fleetlog.Log) {
		b.RollBack(func() { mustAppend(t, e, fleetlog.Entry{Key: "evict.lost", ID: "lost"}) })
	})
}

// following returns a follower that has delivered the message at a position. If one fails
// before, as it does if the log is slow, another one is opened.
func following(t *testing.T, e fleetlog.Log, pos fleetlog.Position) fleetlog.Follower {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		f, err := e.Follow(ctx, pos)
		if err == nil {
			var m fleetlog.Message
			if m, err = f.Next(ctx); err == nil {
				if m.Position != pos {
					t.Errorf("got %+v, want the message at %d", m, pos)
				}
				return f
			}
			f.Close()
		}
		if ctx.Err() != nil {
			t.Fatalf("nothing was delivered: %v", err)
		}
	}
}

// notices replaces the log under a follower, which must not continue in the new one.
func notices(t *testing.T, b Bench, replace func(fleetlog.Log)) {
	e := b.Connect(t)
	pos := mustAppend(t, e, fleetlog.Entry{Key: "start", ID: "start"})
	f := following(t, e, pos)
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	replace(e)
	for i := range 10 {
		id := "new" + strconv.Itoa(i)
		mustAppend(t, e, fleetlog.Entry{Key: "evict." + id, ID: id})
	}
	for {
		m, err := f.Next(ctx)
		if ctx.Err() != nil {
			return // it may also deliver nothing: the node then opens another follower
		}
		if err != nil {
			return
		}
		if len(m.ID) > 3 && m.ID[:3] == "new" {
			t.Fatalf("the follower went on with %+v", m)
		}
	}
}

const suiteLease = 3 * time.Second

var suiteAccount = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

// A station is a node with a group of one cache. It records what the group forgets.
type station struct {
	*fleet.Node
	group *tokencache.Group
	token tokencache.Token

	mu      sync.Mutex // guards the field below
	forgets []string
}

// anything is a source that confirms every token.
type anything struct{}

func (anything) Lookup(context.Context, tokencache.TokenID) (tokencache.Answer[string], error) {
	return tokencache.Answer[string]{Held: true, Verify: func(tokencache.Secret) bool { return true }}, nil
}

func (anything) Subscribe(tokencache.Invalidator) func() { return func() {} }

func newStation(t *testing.T, log fleetlog.Log, name string) *station {
	t.Helper()
	s := &station{}
	s.group = tokencache.NewGroup(tokencache.GroupConfig{Observer: s.observe})
	t.Cleanup(s.group.Close)
	_, cacheErr := tokencache.New(s.group, "notes", anything{}, tokencache.Config{})
	token, tokenErr := tokencache.NewToken(suiteAccount.TokenID("t1"), tokencache.GenerateSecret())
	node, nodeErr := fleet.New(log, s.group, fleet.Config{Lease: suiteLease, Name: name})
	if err := errors.Join(cacheErr, tokenErr, nodeErr); err != nil {
		t.Fatal(err)
	}
	s.token, s.Node = token, node
	t.Cleanup(node.Close)
	s.await(t)
	return s
}

func (s *station) await(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

func (s *station) observe(_ context.Context, e tokencache.Event) {
	if e.Kind != tokencache.EventEviction {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Selectors == nil {
		s.forgets = append(s.forgets, "all")
	}
	for _, sel := range e.Selectors {
		s.forgets = append(s.forgets, sel.String())
	}
}

func (s *station) forgotten() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.forgets)
}

// serves reports whether the group answers, and makes it remember the token.
func (s *station) serves(t *testing.T) bool {
	_, err := s.group.AuthenticateToken(t.Context(), s.token)
	return err == nil
}

func acknowledged(t *testing.T, b Bench) {
	a, c := newStation(t, b.Connect(t), "a"), newStation(t, b.Connect(t), "b")
	if got := c.forgotten(); len(got) == 0 || got[0] != "all" {
		t.Errorf("before it serves the node forgets %q, want all", got)
	}
	if !c.serves(t) {
		t.Error("a node that is ready does not answer")
	}
	began := time.Now()
	report, err := a.Evict(t.Context(), "elastic", "fleet-server", "t1")
	if err != nil || len(report.Nodes) != 1 || report.Nodes[0].Name != "b" || report.Nodes[0].Err != nil || report.Nodes[0].Evicted["notes"] != 1 {
		t.Errorf("got %+v, %v", report, err)
	}
	if took := time.Since(began); took > 3*suiteLease {
		t.Errorf("it took %v", took)
	}
	if got := c.forgotten(); !slices.Contains(got, "elastic/fleet-server/t1") {
		t.Errorf("the other node forgot %q", got)
	}
}

func lapsed(t *testing.T, b Bench) {
	need(t, b.Cut != nil)
	a := newStation(t, b.Connect(t), "a")
	log := b.Connect(t)
	away := newStation(t, log, "b")
	b.Cut(log)
	began := time.Now()
	report, err := a.Evict(t.Context(), "elastic", "fleet-server", "t1")
	took := time.Since(began)
	if away.serves(t) {
		t.Error("a node that is cut off serves after the eviction has returned")
	}
	if err != nil || len(report.Nodes) != 1 || report.Nodes[0].NotServingSince.IsZero() {
		t.Errorf("got %+v, %v", report, err)
	}
	if took > suiteLease+2*time.Second {
		t.Errorf("it took %v, with a lease of %v", took, suiteLease)
	}
	b.Heal(log)
	away.await(t)
}
