package sqltest

import (
	"testing"

	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
)

// TestSuite runs the kit. On PostgreSQL it has a server of its own where that is
// restarted or restored.
func TestSuite(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		fleettest.Suite(t, func(t *testing.T) fleettest.Bench { return sqlite(t).bench(t) })
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		s, err := pgserver.Start("fsync = off")
		pgserver.Need(t, err)
		defer s.Close()
		fleettest.Suite(t, func(t *testing.T) fleettest.Bench {
			b := newSchema(t, s).bench(t)
			b.Restart = func() { restart(t, s) }
			b.RollBack = func(meanwhile func()) { rollBack(t, s, meanwhile) }
			return b
		})
	})
}

func restart(t *testing.T, s *pgserver.Server) {
	if err := s.Crash(); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(); err != nil {
		t.Fatal(err)
	}
}

func rollBack(t *testing.T, s *pgserver.Server, meanwhile func()) {
	backup, err := s.Backup()
	if err != nil {
		t.Fatal(err)
	}
	meanwhile()
	if err := s.Restore(backup); err != nil {
		t.Fatal(err)
	}
}
