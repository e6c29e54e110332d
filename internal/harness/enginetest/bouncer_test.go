package enginetest

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
	"github.com/svctoken/svctoken/tokencache"
)

// TestPgBouncer: over PgBouncer in transaction mode every statement may go to another
// connection of the server. The index works there with the settings that
// docs/sql-operations.md names.
func TestPgBouncer(t *testing.T) {
	s, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	defer s.Close()
	d := database{sqlindex.PostgreSQL, "pgx", s.URL("postgres"), "public", nil}
	d.migrate(t)
	address := s.Bounce(t) + " dbname=postgres"
	for name, open := range map[string]func() (*sql.DB, error){
		"pgx, exec":             func() (*sql.DB, error) { return sql.Open("pgx", address+" default_query_exec_mode=exec") },
		"pgx, describe":         func() (*sql.DB, error) { return sql.Open("pgx", address+" default_query_exec_mode=cache_describe") },
		"lib/pq, binary params": func() (*sql.DB, error) { return sql.Open("postgres", address+" binary_parameters=yes") },
	} {
		t.Run(name, func(t *testing.T) {
			db := opened(t, func(string) (*sql.DB, error) { return open() }, "")
			db.SetMaxOpenConns(8)
			n := d.nodeOf(t, db, sqlindex.Config{Poll: 20 * time.Millisecond})
			token := n.create(t, "token"+strings.Map(letters, name))
			bad := map[string]int{}
			for range 100 {
				n.cache.Clear(t.Context(), tokencache.CauseAsked)
				if got := n.ask(t.Context(), token); got != "confirmed" {
					bad[got]++
				}
				if err := n.index.Status().Err; err != nil {
					bad[err.Error()]++
				}
			}
			if len(bad) > 0 {
				t.Errorf("of 100 authentications, each after a clear: %v", bad)
			}
			if err := n.index.Delete(t.Context(), token.ID()); err != nil {
				t.Error(err)
			}
			n.want(t, token, "refused")
		})
	}
}

func letters(r rune) rune {
	if r >= 'a' && r <= 'z' {
		return r
	}
	return -1
}
