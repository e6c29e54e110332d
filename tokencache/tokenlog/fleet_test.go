package tokenlog_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/tokencache/tokenlog"
)

// TestNode: what happens to a node is told once, and what goes on each minute.
func TestNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).ObserveFleet
		lost := errors.New("no route to the log")
		observe(fleet.Event{Kind: fleet.EventServing, Position: 7})
		observe(fleet.Event{Kind: fleet.EventRenewed, Position: 8})
		observe(fleet.Event{Kind: fleet.EventApplied, Position: 8})
		expect(t, out, "the begin", `level=INFO msg="the node serves" position=7 times=1`)
		observe(fleet.Event{Kind: fleet.EventStopped, Position: 9, Err: lost})
		for range 61 {
			observe(fleet.Event{Kind: fleet.EventJoinFailed, Err: lost})
			time.Sleep(time.Second)
		}
		observe(fleet.Event{Kind: fleet.EventJoinFailed, Err: errors.New("another log")})
		observe(fleet.Event{Kind: fleet.EventServing, Position: 12})
		expect(t, out, "an outage",
			`level=WARN msg="the node does not serve: its caches are cleared, and it joins anew" position=9 times=1 err="no route to the log"`,
			`level=WARN msg="the node cannot join" position=0 times=1 err="no route to the log"`,
			`level=WARN msg="the node cannot join" position=0 times=60 err="no route to the log"`,
			`level=WARN msg="the node cannot join" position=0 times=1 err="another log"`,
			`level=INFO msg="the node serves" position=12 times=1`)
	})
}

// TestOutageAfterReopenings: that a node does not serve is told at once, whatever was told
// of its follower before, and also soon after another outage.
func TestOutageAfterReopenings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).ObserveFleet
		for range 2 {
			observe(fleet.Event{Kind: fleet.EventServing, Position: 7})
			for _, reason := range []string{"no heartbeat", "no stream", "no server", "no route"} {
				observe(fleet.Event{Kind: fleet.EventReopened, Position: 8, Err: errors.New(reason)})
			}
			out.Reset()
			observe(fleet.Event{Kind: fleet.EventStopped, Position: 8, Err: errors.New("lapsed")})
			for _, reason := range []string{"no server", "no stream"} {
				observe(fleet.Event{Kind: fleet.EventJoinFailed, Err: errors.New(reason)})
			}
			time.Sleep(10 * time.Second)
			if got := out.String(); !strings.Contains(got, "does not serve") || !strings.Contains(got, `err="no server"`) {
				t.Errorf("got %q", got)
			}
		}
	})
}

// TestLogThatWentBack: a log that ends before what the node had applied was restored, or
// made anew, and no other log is said to be.
func TestLogThatWentBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).ObserveFleet
		refused := errors.New("the log refused the heartbeat")
		const text = `level=WARN msg="the log was restored or made anew: what was revoked since may be good again" `
		observe(fleet.Event{Kind: fleet.EventServing, Position: 7})
		for _, test := range []struct {
			name             string
			pause            time.Duration
			stopped, serving fleetlog.Position
			want             string
		}{
			{"an outage", 0, 36, 37, ""},
			{"nobody has written", 0, 37, 37, ""},
			{"restored", 0, 60, 28, text + "position=28 before=60 times=1"},
			{"from there on", 0, 29, 30, ""},
			{"again", time.Second, 40, 39, text + "position=39 before=40 times=1"},
			{"and again", time.Second, 80, 2, text + "position=2 before=80 times=1"},
			{"all the time", time.Second, 90, 1, ""},
			{"later", 2 * time.Minute, 70, 3, text + "position=3 before=70 times=2"},
		} {
			time.Sleep(test.pause)
			out.Reset()
			observe(fleet.Event{Kind: fleet.EventStopped, Position: test.stopped, Err: refused})
			observe(fleet.Event{Kind: fleet.EventJoinFailed, Err: refused})
			observe(fleet.Event{Kind: fleet.EventServing, Position: test.serving})
			var got strings.Builder
			for line := range strings.Lines(out.String()) {
				if strings.Contains(line, text) {
					got.WriteString(strings.TrimSpace(line))
				}
			}
			if got.String() != test.want {
				t.Errorf("%s: got %q, want %q", test.name, got.String(), test.want)
			}
		}
	})
}

// TestNodeThatComesAndGoes does not fill the disk.
func TestNodeThatComesAndGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).ObserveFleet
		for range 6000 { // ten minutes
			observe(fleet.Event{Kind: fleet.EventServing})
			observe(fleet.Event{Kind: fleet.EventReopened, Err: errors.New("reset")})
			observe(fleet.Event{Kind: fleet.EventStopped, Err: errors.New("reset")})
			time.Sleep(100 * time.Millisecond)
		}
		if got := strings.Count(out.String(), "\n"); got > 30 {
			t.Errorf("got %d lines in ten minutes", got)
		}
	})
}
