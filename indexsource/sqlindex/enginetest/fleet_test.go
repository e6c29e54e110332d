package enginetest

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/indexsource/sqlindex/enginetest/pgserver"
)

// TestManyNodes: fifty nodes on one PostgreSQL. After each fault, and one poll that
// succeeds, no node confirms what was revoked meanwhile.
func TestManyNodes(t *testing.T) {
	s, err := pgserver.Start("fsync = off")
	needed(t, err)
	defer s.Close()
	d := newSchema(t, s)
	d.migrate(t)
	var nodes []*node
	for range 50 {
		nodes = append(nodes, d.node(t, sqlindex.Config{Poll: 200 * time.Millisecond}))
	}
	db := d.open(t)
	for i, fault := range []struct {
		name string
		make func()
	}{
		{"none", func() {}},
		{"connections cut", func() {
			execSQL(t, db, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
		}},
		{"crash", func() {
			if err := s.Crash(); err != nil {
				t.Fatal(err)
			}
			if err := s.Restart(); err != nil {
				t.Fatal(err)
			}
		}},
		{"renewed", func() {
			if err := nodes[0].index.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		token := nodes[i].create(t, fmt.Sprintf("token%d", i))
		for _, n := range nodes {
			n.poll(t)
			n.want(t, token, "confirmed")
		}
		fault.make()
		for attempt := 0; ; attempt++ { // the handle may have connections that are dead
			if _, err := db.ExecContext(t.Context(), "UPDATE svctoken_tokens SET enabled = FALSE"); err == nil {
				break
			} else if attempt == 10 {
				t.Fatal(err)
			}
		}
		for j, n := range nodes {
			for attempt := 0; n.index.Poll(t.Context()) != nil; attempt++ {
				if attempt == 10 {
					t.Fatalf("%s: node %d cannot poll: %v", fault.name, j, n.index.Status().Err)
				}
			}
			n.want(t, token, "refused")
		}
	}
}

const otherProcess = "SQLINDEX_TEST_OTHER_PROCESS" // names the SQLite file

// runOtherProcess is the main of a second process: it disables every token of a file.
func runOtherProcess() int {
	db, err := sql.Open("sqlite3", sqliteDSN(os.Getenv(otherProcess)))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer db.Close()
	if _, err := db.Exec("UPDATE svctoken_tokens SET enabled = FALSE"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestSeveralProcesses: what another process does to a SQLite file is known after one
// poll, and a poll that finds nothing new forgets nothing.
func TestSeveralProcesses(t *testing.T) {
	d := sqlite(t)
	d.migrate(t)
	n := d.node(t, sqlindex.Config{})
	token := n.create(t, "token1")
	n.want(t, token, "confirmed")
	for range 3 {
		n.poll(t)
		n.want(t, token, "confirmed")
	}
	if got := n.cache.Stats().Hits; got != 3 {
		t.Errorf("got %d hits, want 3", got)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), otherProcess+"="+pathOf(d))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.poll(t)
	n.want(t, token, "refused")
}

// TestOneConnection: an index shares a SQLite handle that may have one connection.
func TestOneConnection(t *testing.T) {
	d := sqlite(t)
	d.migrate(t)
	n := d.node(t, sqlindex.Config{})
	db := d.open(t)
	db.SetMaxOpenConns(1)
	ix := d.index(t, db, sqlindex.Config{})
	if err := ix.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	token := n.create(t, "token1")
	if _, ok, err := ix.Get(t.Context(), token.ID()); !ok || err != nil {
		t.Errorf("got %v, %v", ok, err)
	}
	if err := ix.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
}
