package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

func TestSettleAppend(t *testing.T) {
	conflict, unfit, down := fmt.Errorf("x: %w", fleetlog.ErrConflict), fmt.Errorf("x: %w", fleetlog.ErrUnfit), errors.New("down")
	for _, tt := range []struct {
		name    string
		err     error
		earlier bool
		final   bool
		want    error
	}{
		{"written", nil, false, true, nil},
		{"written by a later attempt", nil, true, true, nil},
		{"a conflict", conflict, false, true, fleetlog.ErrConflict},
		{"a conflict of a later attempt", conflict, true, true, errUnsure},
		{"unfit", unfit, false, true, fleetlog.ErrUnfit},
		{"unfit at a later attempt", unfit, true, true, errUnsure},
		{"an outage", down, false, false, down},
		{"a longer outage", down, true, false, down},
	} {
		t.Run(tt.name, func(t *testing.T) {
			final, err := concludeAppend(tt.err, tt.earlier)
			if final != tt.final || !errors.Is(err, tt.want) {
				t.Errorf("got %v, %v", final, err)
			}
			if want := final && err != nil && !tt.earlier; untouched(err) != want {
				t.Errorf("%v: certainly not written: %v, want %v", err, !want, want)
			}
		})
	}
}

func TestPatience(t *testing.T) {
	for lease, want := range map[time.Duration]time.Duration{15 * time.Second: 3 * time.Second, 100 * time.Millisecond: 100 * time.Millisecond, time.Second: 200 * time.Millisecond} {
		if got := patience(lease); got != want {
			t.Errorf("a lease of %v: %v, want %v", lease, got, want)
		}
	}
	var got []time.Duration
	for pause := time.Duration(0); len(got) < 5; {
		pause = doubled(pause, 3, 20)
		got = append(got, pause)
	}
	if want := "[3ns 6ns 12ns 20ns 20ns]"; fmt.Sprint(got) != want {
		t.Errorf("pauses of %v, want %s", got, want)
	}
}

func TestEnded(t *testing.T) {
	why, down := errors.New("why"), errors.New("down")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for _, last := range []error{nil, context.DeadlineExceeded, fmt.Errorf("x: %w", context.Canceled)} {
		if err := ended(ctx, last); err != why {
			t.Errorf("after %v: %v", last, err)
		}
	}
	if err := ended(ctx, down); !errors.Is(err, why) || !errors.Is(err, down) || err.Error() != "why: down" {
		t.Errorf("got %v", err)
	}
}

func TestLeaseArithmetic(t *testing.T) {
	until := at(testLease)
	if got := renewAt(until, testLease); !got.Equal(at(testLease / 5)) {
		t.Errorf("it is renewed %v after it began", got.Sub(t1))
	}
	for took, want := range map[time.Duration]time.Duration{0: time.Second, time.Second: 2 * time.Second, 2 * time.Second: 4 * time.Second, time.Minute: 5 * time.Second} {
		if got := patient(took, testLease); got != want {
			t.Errorf("after a heartbeat that took %v: %v, want %v", took, got, want)
		}
	}
}

// TestRaise: in whatever order they come, the highest value stays.
func TestRaise(t *testing.T) {
	for range 200 {
		var to atomic.Uint64
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for j := range 50 {
					raise(&to, uint64(8*j+i))
				}
			})
		}
		all.Wait()
		if got := to.Load(); got != 8*49+7 {
			t.Fatalf("got %d", got)
		}
	}
}

func TestBackoff(t *testing.T) {
	for jitter, want := range map[float64]time.Duration{0: 500, 0.5: 1000, 1: 1500} {
		n := &Node{cfg: Config{jitter: func() float64 { return jitter }}}
		if got := n.backoff(1000); got != want {
			t.Errorf("at a jitter of %v: %d, want %d", jitter, got, want)
		}
	}
}

func TestNodeKeys(t *testing.T) {
	for key, want := range map[string]sessionID{
		"node.x.1": {"x", 1}, "node.ABC.12": {"ABC", 12},
		"node..1": {}, "node.x.0": {}, "node.x.-1": {}, "node.x": {}, "node.x.": {}, "node.x.y": {}, "node.x.1.2": {}, "evict.x.1": {}, "node": {}, "": {},
	} {
		got, ok := parseNodeKey(key)
		if ok != (want.n > 0) || ok && (got != want || got.key() != key) {
			t.Errorf("%q: got %+v, %v", key, got, ok)
		}
	}
}

func TestKeptFor(t *testing.T) {
	for _, tt := range []struct {
		entry fleetlog.Entry
		lease time.Duration
		want  time.Duration
	}{
		{fleetlog.Entry{Key: "evict.x"}, time.Minute, 3 * time.Minute},
		{fleetlog.Entry{Key: "doc.a.b.c"}, time.Minute, 0},
		{fleetlog.Entry{Key: "doc.a.b.c", Delete: true}, time.Minute, time.Hour},
		{fleetlog.Entry{Key: "doc.a.b.c", Delete: true}, 30 * time.Minute, 90 * time.Minute},
	} {
		if got := keptFor(tt.entry, tt.lease); got != tt.want {
			t.Errorf("%s, deleted %v, at a lease of %v: %v, want %v", tt.entry.Key, tt.entry.Delete, tt.lease, got, tt.want)
		}
	}
}

// TestLongestLease: a node keeps what it writes for the longest lease that it knows of.
func TestLongestLease(t *testing.T) {
	n := &Node{cfg: Config{Lease: 3}}
	for _, tt := range []struct{ learned, want time.Duration }{{0, 3}, {2, 3}, {5, 5}, {4, 5}, {9, 9}} {
		if n.learnLease(tt.learned); n.lease() != tt.want {
			t.Errorf("after it has learned of %d: %d, want %d", tt.learned, n.lease(), tt.want)
		}
	}
	if n.cfg.Lease = 20; n.lease() != 20 {
		t.Errorf("configured with 20: %d", n.lease())
	}
}

func TestJoins(t *testing.T) {
	for _, tt := range []struct {
		name, meta string
		cfg        Config
		want       error
	}{
		{"its own version", `{"version":1,"log":"L","lease_ns":15000000000}`, Config{}, nil},
		{"an earlier version", `{"version":1,"log":"L","lease_ns":15000000000}`, Config{version: 2}, nil},
		{"a later version", `{"version":2,"log":"L","lease_ns":15000000000}`, Config{}, ErrVersion},
		{"a later version with more fields", `{"version":2,"log":"L","lease_ns":15000000000,"more":1}`, Config{}, ErrVersion},
		{"more fields", `{"version":1,"log":"L","lease_ns":15000000000,"more":1}`, Config{}, errWrongLog},
		{"no version", `{"log":"L","lease_ns":15000000000}`, Config{}, errWrongLog},
		{"no identity", `{"version":1,"lease_ns":15000000000}`, Config{}, errWrongLog},
		{"no lease", `{"version":1,"log":"L"}`, Config{}, errWrongLog},
		{"the shortest lease", `{"version":1,"log":"L","lease_ns":100000000}`, Config{}, nil},
		{"too short a lease", `{"version":1,"log":"L","lease_ns":99999999}`, Config{}, errWrongLog},
		{"nothing", ``, Config{}, errWrongLog},
		{"the log that the host expects", `{"version":1,"log":"L","lease_ns":15000000000}`, Config{Log: "L"}, nil},
		{"another log", `{"version":1,"log":"L","lease_ns":15000000000}`, Config{Log: "M"}, errWrongLog},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.cfg.version == 0 {
				tt.cfg.version = 1
			}
			meta, err := tt.cfg.joins([]byte(tt.meta))
			if !errors.Is(err, tt.want) || err == nil && meta.Log != "L" || err != nil && (strings.Contains(err.Error(), "%!") || !strings.HasPrefix(err.Error(), tt.want.Error()+": ")) {
				t.Errorf("got %+v, %v, want %v", meta, err, tt.want)
			}
		})
	}
}

func TestReplay(t *testing.T) {
	m := func(edit func(*fleetlog.Message)) fleetlog.Message {
		m := fleetlog.Message{Position: 5, Key: "k", Value: []byte("v"), ID: "i"}
		edit(&m)
		return m
	}
	r := newReplay()
	r.add(m(func(*fleetlog.Message) {}))
	for name, edit := range map[string]func(*fleetlog.Message){
		"the position":      func(m *fleetlog.Message) { m.Position = 6 },
		"the key":           func(m *fleetlog.Message) { m.Key = "l" },
		"the value":         func(m *fleetlog.Message) { m.Value = []byte("w") },
		"the ID":            func(m *fleetlog.Message) { m.ID = "j" },
		"the deletion":      func(m *fleetlog.Message) { m.Deleted = true },
		"where a part ends": func(m *fleetlog.Message) { m.ID, m.Key = "ik", "" },
	} {
		if r.matches(m(edit)) {
			t.Errorf("a message that differs in %s matches", name)
		}
	}
	if !r.matches(m(func(m *fleetlog.Message) { m.Skipped = true })) {
		t.Error("the same message does not match")
	}
	beat := m(func(m *fleetlog.Message) { m.Position = 9 })
	r.restart(beat)
	if r.matches(m(func(*fleetlog.Message) {})) || !r.matches(beat) {
		t.Error("after the node's own heartbeat, the replay still knows earlier messages, or does not know the heartbeat")
	}
}
