package sqltest

import (
	"fmt"
	"testing"

	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
)

// TestSuite runs the suite with each driver that hosts use, and over PgBouncer. Each
// PostgreSQL has a server of its own, which is restarted and restored.
func TestSuite(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"ncruces", "modernc"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			fleettest.Suite(t, func(t *testing.T) fleettest.Bench { return sqlite(t).with(driver).bench(t) })
		})
	}
	for _, driver := range postgresDrivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			suiteOnPostgres(t, func(s *pgserver.Server) func(*testing.T) database {
				return func(t *testing.T) database { return newSchema(t, s).with(driver) }
			})
		})
	}
	for name, setting := range bounced {
		t.Run(name+" over PgBouncer", func(t *testing.T) {
			t.Parallel()
			suiteOnPostgres(t, func(s *pgserver.Server) func(*testing.T) database {
				address := s.Bounce(t) + " " + setting
				return func(t *testing.T) database { return newDatabase(t, s, address).with(name) }
			})
		})
	}
}

// bounced are the settings that drivers need over a PgBouncer before 1.21.
var bounced = map[string]string{"pgx": "default_query_exec_mode=exec", "lib_pq": "binary_parameters=yes"}

func suiteOnPostgres(t *testing.T, databases func(*pgserver.Server) func(*testing.T) database) {
	s, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	defer s.Close()
	next := databases(s)
	fleettest.Suite(t, func(t *testing.T) fleettest.Bench {
		b := next(t).bench(t)
		b.Restart = func() { restart(t, s) }
		b.RollBack = func(meanwhile func()) { rollBack(t, s, meanwhile) }
		return b
	})
}

// newDatabase is newSchema for PgBouncer, which takes no search_path.
func newDatabase(t testing.TB, s *pgserver.Server, address string) database {
	t.Helper()
	d := newSchema(t, s)
	name := fmt.Sprintf("fleet%d", schemas.Add(1))
	execSQL(t, d.open(t, nil), "CREATE DATABASE "+name)
	d.dsn = address + " dbname=" + name
	return d
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
