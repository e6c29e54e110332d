package fleet_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
)

func names(members []fleet.Member) []string {
	var list []string
	for _, m := range members {
		list = append(list, m.Name)
	}
	return list
}

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

func TestMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, a, b := pair(t)
		time.Sleep(simLease / 4) // each renews once
		synctest.Wait()
		for _, s := range []*station{a, b} {
			if diff := cmp.Diff([]string{"a", "b"}, names(s.Members())); diff != "" {
				t.Errorf("%s knows (-want +got):\n%s", s.Status().Name, diff)
			}
		}
		seen := a.member(t, "b")
		key := "node." + b.Status().ID + ".1"
		view, err := a.conn.Read(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if seen.ID != b.Status().ID || seen.Session != 1 || seen.Applied == 0 || seen.Applied >= view.Messages[key].Position {
			t.Errorf("got %+v, and the heartbeat is at %d", seen, view.Messages[key].Position)
		}
		if got, least := seen.Until, b.Status().Until; got.Before(least) || !got.Equal(seen.Heard.Add(fleet.Allow(simLease))) {
			t.Errorf("b may answer until %v, and is said to until %v", least, got)
		}

		// A node that is cut off is told of as it was, and tells what it knew.
		b.conn.Cut(true, true)
		time.Sleep(2 * simLease)
		if got := a.member(t, "b"); got != seen {
			t.Errorf("got %+v, want %+v", got, seen)
		}
		if diff := cmp.Diff([]string{"a", "b"}, names(b.Members())); diff != "" {
			t.Errorf("cut off, b knows (-want +got):\n%s", diff)
		}
		time.Sleep(2 * simLease)
		if diff := cmp.Diff([]string{"a"}, names(a.Members())); diff != "" {
			t.Errorf("four leases later, a knows (-want +got):\n%s", diff)
		}

		// It comes back as another session of the same process, and is forgotten when
		// it leaves.
		b.conn.Heal()
		if err := b.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(simLease / 4) // between two renewals
		synctest.Wait()
		if _, err := b.conn.Append(t.Context(), fleetlog.Entry{Key: key, ID: "late", Value: []byte(`{"name":"b","applied":1}`)}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := a.member(t, "b"); got.Session < 2 || got.ID != seen.ID {
			t.Errorf("got %+v", got)
		}
		if st := b.Status(); st.Lease != simLease {
			t.Errorf("the status has a lease of %v", st.Lease)
		}
		b.Close()
		synctest.Wait()
		if diff := cmp.Diff([]string{"a"}, names(a.Members())); diff != "" {
			t.Errorf("after b has left, a knows (-want +got):\n%s", diff)
		}
		if _, err := a.conn.Append(t.Context(), fleetlog.Entry{Key: "node.z1.1", ID: "z", Value: []byte(`{"name":"_"}`)}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"_", "a"}, names(a.Members())); diff != "" {
			t.Errorf("sorted by name (-want +got):\n%s", diff)
		}
	})
}
