package enginetest

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
)

// TestFilesBesideDeleted: when -wal and -shm are deleted, new connections make new ones,
// and neither side sees what the other writes. A node that was open before answers
// nothing any more.
func TestFilesBesideDeleted(t *testing.T) {
	d := sqlite(t)
	d.migrate(t)
	old := d.node(t, sqlindex.Config{})
	token := old.create(t, "token1")
	old.want(t, token, "confirmed")
	execSQL(t, old.db, "PRAGMA wal_checkpoint(FULL)")
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(pathOf(d) + suffix); err != nil {
			t.Fatal(err)
		}
	}
	other := d.node(t, sqlindex.Config{})
	if err := other.index.Delete(t.Context(), token.ID()); err != nil {
		t.Fatal(err)
	}
	if err := old.index.Poll(t.Context()); !errors.Is(err, sqlindex.ErrReplaced) {
		t.Errorf("Poll: got %v", err)
	}
	if got := old.ask(t.Context(), token); !strings.Contains(got, "restart") {
		t.Errorf("the old node says %q, want an error that it must be restarted", got)
	}
	if err := old.index.SetEnabled(t.Context(), token.ID(), true); !errors.Is(err, sqlindex.ErrReplaced) {
		t.Errorf("a change by the old node: got %v", err)
	}
}

// TestFileComesBack: a file that was moved away and back is the same, and the index
// recovers.
func TestFileComesBack(t *testing.T) {
	d := sqlite(t)
	d.migrate(t)
	n := d.node(t, sqlindex.Config{Poll: 10 * time.Millisecond})
	token := n.create(t, "token1")
	n.want(t, token, "confirmed")
	for _, suffixes := range [][]string{{""}, {"", "-wal", "-shm"}} {
		move := func(from, to string) {
			t.Helper()
			for _, suffix := range suffixes {
				if err := os.Rename(pathOf(d)+from+suffix, pathOf(d)+to+suffix); err != nil {
					t.Fatal(err)
				}
			}
		}
		move("", ".away")
		for !errors.Is(n.index.Status().Err, sqlindex.ErrReplaced) {
			time.Sleep(time.Millisecond)
		}
		for began, got := time.Now(), ""; !strings.Contains(got, "restart"); got = n.ask(t.Context(), token) { // the caches are told after the status
			if time.Since(began) > 30*time.Second {
				t.Fatalf("while it is away: got %q", got)
			}
		}
		move(".away", "")
		n.await(t, token, "confirmed")
		if state := n.source.State(); state.Health != indexsource.HealthGreen || !state.UpToDate {
			t.Errorf("got %+v", state)
		}
		if err := n.index.SetEnabled(t.Context(), token.ID(), true); err != nil {
			t.Error(err)
		}
	}
}

// TestJournalModes: journal modes that a crash breaks are refused, by name.
func TestJournalModes(t *testing.T) {
	for mode, want := range map[string]error{"WAL": nil, "DELETE": nil, "TRUNCATE": nil, "PERSIST": nil, "MEMORY": sqlindex.ErrJournal, "OFF": sqlindex.ErrJournal} {
		d := sqlite(t)
		d.dsn = strings.Replace(d.dsn, "journal_mode(WAL)", "journal_mode("+mode+")", 1)
		ix := d.index(t, d.open(t), sqlindex.Config{})
		if err := ix.Migrate(t.Context()); !errors.Is(err, want) {
			t.Errorf("%s: Migrate: got %v", mode, err)
		}
		if want == nil {
			continue
		}
		if err := ix.Poll(t.Context()); !errors.Is(err, want) || !strings.Contains(err.Error(), mode) {
			t.Errorf("%s: Poll: got %v", mode, err)
		}
	}
}
