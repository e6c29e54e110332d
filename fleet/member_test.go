package fleet_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
)

func (s *station) member(t *testing.T, name string) fleet.Member {
	t.Helper()
	for _, m := range s.Members() {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("%s has not heard of %s", s.Status().Name, name)
	return fleet.Member{}
}

// TestMembers: a node whose heartbeat was heard is a member for three leases, or until it
// leaves.
func TestMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		renewed := func() { time.Sleep(simLease / 4); synctest.Wait() }
		renewed()
		a.knows(t, "a", "b")
		b.knows(t, "a", "b")
		seen := a.member(t, "b")

		b.conn.Cut(true, true)
		time.Sleep(2 * simLease)
		if got := a.member(t, "b"); got != seen {
			t.Errorf("cut off, b is %+v to a, want as before, %+v", got, seen)
		}
		b.knows(t, "a", "b") // what it knew before
		time.Sleep(2 * simLease)
		a.knows(t, "a")

		b.conn.Heal()
		if err := b.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		renewed()
		b.beat(t, b.Status().ID+".1", `{"name":"b","applied":1}`) // a late one, of its first session
		if got := a.member(t, "b"); got.Session < 2 || got.ID != seen.ID {
			t.Errorf("b has come back as %+v, want a new session of the same process", got)
		}
		if st := b.Status(); st.Lease != simLease {
			t.Errorf("the status has a lease of %v", st.Lease)
		}

		b.Close()
		synctest.Wait()
		a.knows(t, "a")
		a.beat(t, "z1.1", `{"name":"_"}`)
		a.knows(t, "_", "a") // sorted by name
		a.beat(t, "z3.1", `{"name":"_"}`)
		a.beat(t, "z2.1", `{"name":"_"}`)
		var got []string
		for _, m := range a.Members() {
			got = append(got, m.ID)
		}
		if diff := cmp.Diff([]string{"z1", "z2", "z3", a.Status().ID}, got); diff != "" {
			t.Errorf("sorted by name, and then by ID (-want +got):\n%s", diff)
		}
	})
}

// TestMemberIsWhatItsHeartbeatSays: together with the time until which it may answer, by
// the clock of the node that has heard it.
func TestMemberIsWhatItsHeartbeatSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		time.Sleep(simLease / 4) // each renews once
		synctest.Wait()
		got, sent := a.member(t, "b"), b.Status()
		key := "node." + sent.ID + ".1"
		view, err := a.conn.Read(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if at := view.Messages[key].Position; got.ID != sent.ID || got.Session != 1 || got.Applied == 0 || got.Applied >= at {
			t.Errorf("got %+v, and its heartbeat is at %d", got, at)
		}
		if got.Until.Before(sent.Until) || !got.Until.Equal(got.Heard.Add(fleet.Allow(simLease))) {
			t.Errorf("b may answer until %v, and is said to until %v", sent.Until, got.Until)
		}
	})
}

// knows checks which nodes this one says are members.
func (s *station) knows(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, m := range s.Members() {
		got = append(got, m.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the members to %s (-want +got):\n%s", s.Status().Name, diff)
	}
}

// beat appends a heartbeat of a session, and waits until it is delivered.
func (s *station) beat(t *testing.T, session, value string) {
	t.Helper()
	entry := fleetlog.Entry{Key: "node." + session, ID: "beat " + session, Value: []byte(value)}
	if _, err := s.conn.Append(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}
