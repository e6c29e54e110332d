package enginetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	sqlitedriver "github.com/ncruces/go-sqlite3/driver"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
	"github.com/svctoken/svctoken/tokencache"
)

// TestRollback: a transaction that took a rev and did not commit has changed nothing,
// and the next one that takes the rev is not missed.
func TestRollback(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		// Created before the node: otherwise a late poll of the node's would report the
		// creation again.
		token, err := d.index(t, d.open(t), sqlindex.Config{}).Create(t.Context(), fleet.TokenID("token1"), "operator")
		if err != nil {
			t.Fatal(err)
		}
		n := d.node(t, sqlindex.Config{})
		n.want(t, token, "confirmed")
		tx, err := d.open(t).BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		execSQL(t, tx, "UPDATE svctoken_tokens SET enabled = FALSE")
		n.poll(t)
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		n.poll(t)
		n.want(t, token, "confirmed")
		if hits := n.cache.Stats().Hits; hits != 1 {
			t.Errorf("got %d hits, want 1: nothing has changed", hits)
		}
		transaction(t, d, "UPDATE svctoken_tokens SET enabled = FALSE")
		n.poll(t)
		n.want(t, token, "refused")
	})
}

// TestLongTransactions: a transaction that has written and does not commit holds up
// writers but not readers, and is noticed when it commits. One that only reads holds up
// nobody.
func TestLongTransactions(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		ctx := t.Context()
		n := d.node(t, sqlindex.Config{})
		token1, token2 := n.create(t, "token1"), n.create(t, "token2")
		n.want(t, token1, "confirmed")
		db := d.open(t)

		reader, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		var before int
		if err := reader.QueryRowContext(ctx, "SELECT rev FROM svctoken_meta").Scan(&before); err != nil {
			t.Fatal(err)
		}
		if err := n.index.SetEnabled(ctx, token2.ID(), false); err != nil {
			t.Errorf("behind a reader: %v", err)
		}
		reader.Rollback()

		writer, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		execSQL(t, writer, "UPDATE svctoken_tokens SET enabled = FALSE WHERE name = 'token1'")
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		if err := n.index.SetEnabled(short, token2.ID(), true); err == nil {
			t.Error("a second writer did not wait for the first")
		} else if _, ok := errors.AsType[*sqlindex.EngineError](err); !ok {
			t.Errorf("got %#v", err)
		}
		n.poll(t)
		n.want(t, token1, "confirmed")
		n.want(t, token2, "refused")
		if err := writer.Commit(); err != nil {
			t.Fatal(err)
		}
		n.poll(t)
		n.want(t, token1, "refused")
		if err := n.index.SetEnabled(ctx, token2.ID(), true); err != nil {
			t.Error(err)
		}
		n.want(t, token2, "confirmed")
	})
}

// TestCrash: PostgreSQL is killed in the middle of writes, again and again. While it is
// down, hits go on, and calls that need it return errors. When it is back, each node
// knows after one poll what was committed.
func TestCrash(t *testing.T) {
	s, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	defer s.Close()
	d := newSchema(t, s)
	d.migrate(t)
	nodes := []*node{d.node(t, sqlindex.Config{}), d.node(t, sqlindex.Config{})}
	writer := d.node(t, sqlindex.Config{})
	steady := writer.create(t, "steady")
	for round := range 3 {
		for _, n := range nodes {
			n.poll(t)
			n.want(t, steady, "confirmed")
		}
		var writes sync.WaitGroup
		started := make(chan struct{})
		var doubtful, done []string // names whose deletion was, or was not, acknowledged
		tokens := make(map[string]tokencache.Token)
		for i := range 20 {
			name := fmt.Sprintf("token%d-%d", round, i)
			tokens[name] = writer.create(t, name)
			nodes[0].want(t, tokens[name], "confirmed")
		}
		writes.Go(func() {
			for i := range 20 {
				name := fmt.Sprintf("token%d-%d", round, i)
				if err := writer.index.Delete(context.Background(), fleet.TokenID(name)); err != nil {
					doubtful = append(doubtful, name)
				} else {
					done = append(done, name)
				}
				if i == 5 {
					close(started)
				}
			}
		})
		<-started
		if err := s.Crash(); err != nil {
			t.Fatal(err)
		}
		writes.Wait()
		stranger, err := tokencache.NewToken(fleet.TokenID("stranger"), tokencache.GenerateSecret())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			n.want(t, steady, "confirmed")
			if got := n.ask(t.Context(), stranger); got == "confirmed" || got == "refused" {
				t.Errorf("while the database is down, a token that is not in memory was %s", got)
			}
			if err := n.index.Poll(t.Context()); err == nil {
				t.Error("a poll of a database that is down succeeds")
			}
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			n.poll(t)
		}
		for _, name := range done {
			nodes[0].want(t, tokens[name], "refused")
		}
		for _, name := range doubtful { // both nodes must agree with the database
			if a, b := nodes[0].ask(t.Context(), tokens[name]), nodes[1].ask(t.Context(), tokens[name]); a != b {
				t.Errorf("%s: one node says %s, the other %s", name, a, b)
			}
		}
		t.Logf("round %d: %d deletions acknowledged, %d not", round, len(done), len(doubtful))
	}
}

// TestBackup: an older copy takes the index's place while a node runs, and then goes past
// the rev that the node has seen. The node clears its caches.
func TestBackup(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		d := sqlite(t)
		d.migrate(t)
		n := d.node(t, sqlindex.Config{})
		old := n.create(t, "old")
		backup := filepath.Join(t.TempDir(), "backup.db")
		execSQL(t, n.db, "VACUUM INTO '"+backup+"'")
		revoked := n.create(t, "revoked")
		n.want(t, old, "confirmed")
		n.want(t, revoked, "confirmed")
		restore(t, d, backup)
		for range 10 { // past the rev that the node has seen
			transaction(t, d, "UPDATE svctoken_tokens SET creator = 'x' WHERE FALSE; UPDATE svctoken_meta SET rev = rev + 1")
		}
		n.poll(t)
		n.want(t, revoked, "refused")
		n.want(t, old, "confirmed")
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		s, err := pgserver.Start("fsync = off")
		pgserver.Need(t, err)
		defer s.Close()
		d := newSchema(t, s)
		d.migrate(t)
		target := d.switching(t)
		n := target.node(t, sqlindex.Config{})
		old := n.create(t, "old")
		r, copied := d.copied(t, s, n.index.Status().Rev)
		defer r.Close()
		execSQL(t, copied.open(t), "SELECT pg_promote()")
		revoked := n.create(t, "revoked")
		n.want(t, old, "confirmed")
		n.want(t, revoked, "confirmed")
		for range 10 { // past the rev that the node has seen
			execSQL(t, copied.open(t), "UPDATE svctoken_tokens SET creator = 'x'")
		}
		target.switchTo(t, copied)
		n.poll(t)
		n.want(t, revoked, "refused")
		n.want(t, old, "confirmed")
	})
}

// restore puts a backup in the place of the database that is in use, as the shell's
// .restore does.
func restore(t testing.TB, d database, backup string) {
	t.Helper()
	conn, err := d.open(t).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		return c.(sqlitedriver.Conn).Raw().Restore("main", "file:"+backup)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestReplacedFile: the index notices another file in the place of SQLite's, and answers
// nothing from the old one any more.
func TestReplacedFile(t *testing.T) {
	d, other := sqlite(t), sqlite(t)
	d.migrate(t)
	other.migrate(t)
	n := d.node(t, sqlindex.Config{})
	token := n.create(t, "token1")
	n.want(t, token, "confirmed")
	if err := os.Rename(pathOf(other), pathOf(d)); err != nil {
		t.Fatal(err)
	}
	if err := n.index.Poll(t.Context()); !errors.Is(err, sqlindex.ErrReplaced) {
		t.Errorf("Poll: got %v", err)
	}
	if got := n.ask(t.Context(), token); !strings.Contains(got, "replaced") {
		t.Errorf("got %q", got)
	}
	if err := n.index.SetEnabled(t.Context(), token.ID(), true); !errors.Is(err, sqlindex.ErrReplaced) {
		t.Errorf("SetEnabled: got %v", err)
	}
	if state := n.source.State(); state.Health != indexsource.HealthNone {
		t.Errorf("got %+v", state)
	}
}

func pathOf(d database) string {
	path, _, _ := strings.Cut(strings.TrimPrefix(d.dsn, "file:"), "?")
	return path
}

// awaitRev waits until a replica has a rev.
func awaitRev(t testing.TB, d database, want int64) {
	t.Helper()
	db := d.open(t)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		var rev int64
		err := db.QueryRowContext(t.Context(), "SELECT rev, pg_sleep(0.01) IS NULL FROM svctoken_meta").Scan(&rev, new(bool))
		if err == nil && rev >= want {
			return
		}
	}
	t.Fatalf("rev %d does not arrive", want)
}

// copied returns a replica of the server that has a rev of the database, and the
// database there.
func (d database) copied(t testing.TB, s *pgserver.Server, rev int64) (*pgserver.Server, database) {
	t.Helper()
	r, err := s.Replica()
	if err != nil {
		t.Fatal(err)
	}
	d.dsn = r.URL("postgres") + "&search_path=" + d.schema
	awaitRev(t, d, rev)
	return r, d
}

// switching returns the database by way of a handle that can be switched to another
// server.
func (d database) switching(t testing.TB) database {
	d.target = new(atomic.Pointer[pgx.ConnConfig])
	d.switchTo(t, d)
	return d
}

func (d database) switchTo(t testing.TB, to database) {
	t.Helper()
	cfg, err := pgx.ParseConfig(to.dsn)
	if err != nil {
		t.Fatal(err)
	}
	d.target.Store(cfg)
}

// TestReplica: a replica is refused, unless it is asked for.
func TestReplica(t *testing.T) {
	s, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	defer s.Close()
	d := newSchema(t, s)
	d.migrate(t)
	primary := d.node(t, sqlindex.Config{})
	token := primary.create(t, "token1")
	r, replica := d.copied(t, s, primary.index.Status().Rev)
	defer r.Close()

	ix := replica.index(t, replica.open(t), sqlindex.Config{})
	if _, _, err := ix.Get(t.Context(), token.ID()); !errors.Is(err, sqlindex.ErrReplica) {
		t.Errorf("Get: got %v", err)
	}
	if err := ix.Poll(t.Context()); !errors.Is(err, sqlindex.ErrReplica) {
		t.Errorf("Poll: got %v", err)
	}

	n := replica.node(t, sqlindex.Config{AllowReplicas: true})
	n.want(t, token, "confirmed")
	if err := n.index.Delete(t.Context(), token.ID()); err == nil {
		t.Error("a replica deletes")
	}
	if err := primary.index.Delete(t.Context(), token.ID()); err != nil {
		t.Fatal(err)
	}
	awaitRev(t, replica, primary.index.Status().Rev)
	n.poll(t)
	n.want(t, token, "refused")
}

// TestReplicaBehind: a node that has seen a deletion, and then reads from a replica that
// has not, confirms nothing, and forgets nothing.
func TestReplicaBehind(t *testing.T) {
	s, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	defer s.Close()
	d := newSchema(t, s)
	d.migrate(t)
	target := d.switching(t)
	n := target.node(t, sqlindex.Config{AllowReplicas: true})
	kept, deleted := n.create(t, "kept"), n.create(t, "deleted")
	r, replica := d.copied(t, s, n.index.Status().Rev)
	defer r.Close()
	execSQL(t, replica.open(t), "SELECT pg_wal_replay_pause()")
	n.want(t, kept, "confirmed")
	if err := n.index.Delete(t.Context(), deleted.ID()); err != nil {
		t.Fatal(err)
	}
	n.poll(t)
	target.switchTo(t, replica)
	if got := n.ask(t.Context(), deleted); !strings.Contains(got, sqlindex.ErrBehind.Error()) {
		t.Errorf("got %q", got)
	}
	if err := n.index.Poll(t.Context()); !errors.Is(err, sqlindex.ErrBehind) {
		t.Errorf("Poll: got %v", err)
	}
	n.want(t, kept, "confirmed")
	if got := n.cache.Stats().Hits; got != 1 {
		t.Errorf("got %d hits, want 1", got)
	}
	execSQL(t, replica.open(t), "SELECT pg_wal_replay_resume()")
	awaitRev(t, replica, n.index.Status().Rev)
	n.poll(t)
	n.want(t, deleted, "refused")
}
