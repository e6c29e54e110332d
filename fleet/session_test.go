package fleet_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleettest"
)

// TestWhySessionsEnd: each reason says what was found, and at which position.
func TestWhySessionsEnd(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		do         func(t *testing.T, log *fleettest.Log, conn *fleettest.Conn, clock *simClock, key string)
	}{
		{"another wrote the heartbeat", "fleet: the log is not the one that was followed: somebody else wrote this node's heartbeat",
			func(t *testing.T, log *fleettest.Log, _ *fleettest.Conn, _ *simClock, key string) {
				appendTo(t, log.Connect(), fleetlog.Entry{Key: key, ID: "x", Value: []byte("{}")})
			}},
		{"another wrote the heartbeat meanwhile", "fleet: the log is not the one that was followed: the heartbeat at position 3 has gone",
			func(t *testing.T, log *fleettest.Log, conn *fleettest.Conn, _ *simClock, key string) {
				conn.Cut(false, true)
				conn.Break()
				appendTo(t, log.Connect(), fleetlog.Entry{Key: key, ID: "x", Value: []byte("{}")})
				conn.Heal()
			}},
		{"another identity", "fleet: the log is not the one that was followed: its identity has changed",
			func(t *testing.T, log *fleettest.Log, _ *fleettest.Conn, _ *simClock, _ string) {
				appendTo(t, log.Connect(), fleetlog.Entry{Key: "meta", ID: "x", Value: []byte("{}")})
			}},
		{"the log is another", "fleet: the log is not the one that was followed: position 3 holds another message",
			func(t *testing.T, log *fleettest.Log, _ *fleettest.Conn, _ *simClock, _ string) {
				log.Recreate()
				for i := range 3 {
					appendTo(t, log.Connect(), fleetlog.Entry{Key: fmt.Sprint("note.", i), ID: fmt.Sprint(i)})
				}
			}},
		{"the log is empty", "fleet: the log refused the heartbeat: fleetlog: the key has changed: KEY is at 0, not 3",
			func(_ *testing.T, log *fleettest.Log, _ *fleettest.Conn, _ *simClock, _ string) { log.Recreate() }},
		{"the log has forgotten", "fleetlog: messages are missing from the log",
			func(t *testing.T, log *fleettest.Log, conn *fleettest.Conn, _ *simClock, _ string) {
				appendTo(t, log.Connect(), fleetlog.Entry{Key: "note.x", ID: "x"})
				log.Compact()
				conn.Break()
			}},
		{"it is cut off", "fleet: the lease ran out before it was renewed",
			func(_ *testing.T, _ *fleettest.Log, conn *fleettest.Conn, _ *simClock, _ string) {
				conn.Cut(true, true)
			}},
		{"the machine slept", "fleet: the machine was suspended",
			func(_ *testing.T, _ *fleettest.Log, _ *fleettest.Conn, clock *simClock, _ string) {
				clock.asleep.Add(int64(time.Minute))
				clock.back.Add(int64(time.Minute))
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, clock := fleettest.NewLog(), &simClock{begin: time.Now(), rate: 1}
				conn := log.Connect()
				stopped := make(chan fleet.Event, 10)
				cfg := fleet.Config{Observer: func(e fleet.Event) {
					if e.Kind == fleet.EventStopped {
						stopped <- e
					}
				}}
				node, err := fleet.NewWith(conn, &recorder{}, cfg.WithTest(clock, fleetID(), func() float64 { return 0.5 }))
				if err != nil {
					t.Fatal(err)
				}
				defer node.Close()
				defer conn.Heal()
				if err := node.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(simLease/5 + time.Second) // it has renewed once
				key := "node." + node.Status().ID + ".1"
				tt.do(t, log, conn, clock, key)
				e := <-stopped
				if got, want := e.Err.Error(), strings.ReplaceAll(tt.want, "KEY", key); got != want || e.Position != 3 {
					t.Errorf("at %d it ended with %q, want %q", e.Position, got, want)
				}
			})
		})
	}
}

func appendTo(t *testing.T, log fleetlog.Log, entry fleetlog.Entry) {
	t.Helper()
	if _, err := log.Append(t.Context(), entry); err != nil {
		t.Error(err)
	}
}

// fleetID returns a counter of IDs for one node.
func fleetID() func() string {
	n := make(chan int, 1)
	n <- 0
	return func() string {
		next := <-n + 1
		n <- next
		return fmt.Sprint("id", next)
	}
}
