package enginetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/indexsource/sqlindex/pglisten"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

const fleetPoll = 200 * time.Millisecond

// A scene is fifty nodes on one PostgreSQL, half of which listen, with a token that each
// has confirmed.
type scene struct {
	*testing.T
	server *pgserver.Server
	d      database
	nodes  []*node
	token  tokencache.Token
	other  tokencache.Token // in the index, and not in any memory
}

// TestManyNodes: whatever happens to the database, each of fifty nodes refuses a revoked
// token once one of its own polls has begun after the revocation and succeeded. While the
// database is down, tokens that need it get an error, not a refusal, and tokens in memory
// are confirmed.
func TestManyNodes(t *testing.T) {
	s, err := pgserver.Start("fsync = off")
	pgserver.Need(t, err)
	defer s.Close()
	d := newSchema(t, s)
	d.migrate(t)
	var nodes []*node
	for i := range 50 {
		n := d.node(t, sqlindex.Config{Poll: fleetPoll})
		if i%2 == 0 {
			d.listening(t, n, pglisten.Config{})
		}
		nodes = append(nodes, n)
	}
	const disable = "UPDATE svctoken_tokens SET enabled = FALSE"
	for i, fault := range []struct {
		name string
		make func(s *scene) // revokes the token; returns when that is committed, and the database up
	}{
		{"none", func(s *scene) { s.exec(disable) }},
		{"every connection cut", func(s *scene) {
			s.exec("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
			s.exec(disable)
		}},
		{"connections cut that listen", func(s *scene) {
			s.exec("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
			s.exec(disable)
		}},
		{"killed in the middle of writes", func(s *scene) { s.killed(); s.exec(disable) }},
		{"long transactions", func(s *scene) { s.long(disable) }},
		{"rolled back after the rev was taken", func(s *scene) {
			tx, err := s.d.open(s).BeginTx(s.Context(), nil)
			if err != nil {
				s.Fatal(err)
			}
			execSQL(s, tx, disable)
			if err := tx.Rollback(); err != nil {
				s.Fatal(err)
			}
			s.polled()
			s.all(s.token, "confirmed")
			s.exec(disable)
		}},
		{"writers race for one name", func(s *scene) { s.race(); s.exec(disable) }},
		{"an older backup restored", (*scene).restored},
		{"clocks that go backwards", func(s *scene) {
			s.exec("UPDATE svctoken_tokens SET created = created - 400000000000")
			s.exec("UPDATE svctoken_tokens SET enabled = FALSE, created = -created")
		}},
		{"another identity", func(s *scene) {
			s.exec(disable)
			if err := s.nodes[0].index.Renew(s.Context()); err != nil {
				s.Fatal(err)
			}
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			s := &scene{T: t, server: s, d: d, nodes: nodes}
			if fault.name != "an older backup restored" { // there it is made after the backup
				s.prepare(i)
			}
			fault.make(s)
			s.polled()
			s.all(s.token, "refused")
		})
	}
}

// prepare creates the tokens. Every node confirms one of them.
func (s *scene) prepare(number int) {
	s.Helper()
	s.token, s.other = s.created(fmt.Sprintf("token%d", number)), s.created(fmt.Sprintf("other%d", number))
	s.polled() // otherwise the next poll reports the creation, and the token is forgotten
	s.all(s.token, "confirmed")
}

// created makes a node put a token into the index, with a cheap hash.
func (s *scene) created(name string) tokencache.Token {
	s.Helper()
	token, err := tokencache.NewToken(fleet.TokenID(name), tokencache.NewSecret("supersecret"))
	if err != nil {
		s.Fatal(err)
	}
	hash, err := tokenhash.Parse(hashOfSupersecret)
	if err != nil {
		s.Fatal(err)
	}
	for attempt := 0; ; attempt++ { // the handle may have connections that are dead
		err := s.nodes[0].index.Put(s.Context(), indexsource.Document{Token: token.ID(), Enabled: true, Hash: hash})
		if err == nil {
			return token
		}
		if attempt == 20 {
			s.Fatal(err)
		}
	}
}

// exec runs a statement on a connection of its own: a handle may have dead ones.
func (s *scene) exec(statement string) {
	s.Helper()
	execSQL(s, s.d.open(s), statement)
}

// polled waits until each node has polled by itself.
func (s *scene) polled() {
	s.Helper()
	since := time.Now()
	for _, n := range s.nodes {
		for !n.index.Status().Polled.After(since) {
			if time.Since(since) > time.Minute {
				s.Fatalf("a node does not poll: %+v", n.index.Status())
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// all asks every node.
func (s *scene) all(token tokencache.Token, want string) {
	s.Helper()
	for i, n := range s.nodes {
		if got := n.ask(s.Context(), token); got != want {
			s.Errorf("node %d: %v: got %q, want %q", i, token, got, want)
		}
	}
}

// killed crashes the database while three nodes write, looks at what nodes answer
// then, and starts it again.
func (s *scene) killed() {
	var writers sync.WaitGroup
	writing := make(chan struct{}, 3)
	for i := range 3 {
		writers.Go(func() {
			for j := 0; ; j++ {
				if _, err := s.nodes[i].index.Create(context.Background(), fleet.TokenID(fmt.Sprintf("written%d-%d", i, j)), "me"); err != nil {
					return
				}
				if j == 3 {
					writing <- struct{}{}
				}
			}
		})
	}
	for range 3 {
		<-writing
	}
	if err := s.server.Crash(); err != nil {
		s.Fatal(err)
	}
	writers.Wait()
	s.all(s.token, "confirmed")
	for i, n := range s.nodes {
		if got := n.ask(s.Context(), s.other); got == "confirmed" || got == "refused" {
			s.Errorf("node %d: while the database is down, a token that is not in memory was %s", i, got)
		}
	}
	if err := s.server.Restart(); err != nil {
		s.Fatal(err)
	}
}

// long revokes in a transaction that stays open for some polls, beside one that reads.
func (s *scene) long(revoke string) {
	reader, err := s.d.open(s).BeginTx(s.Context(), nil)
	if err != nil {
		s.Fatal(err)
	}
	defer reader.Rollback()
	execSQL(s, reader, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
	execSQL(s, reader, "SELECT count(*) FROM svctoken_tokens")
	writer, err := s.d.open(s).BeginTx(s.Context(), nil)
	if err != nil {
		s.Fatal(err)
	}
	execSQL(s, writer, revoke)
	s.polled()
	s.all(s.token, "confirmed")
	if err := writer.Commit(); err != nil {
		s.Fatal(err)
	}
}

// race lets ten nodes create one name.
func (s *scene) race() {
	var mu sync.Mutex
	var tokens []tokencache.Token
	var creators sync.WaitGroup
	for _, n := range s.nodes[:10] {
		creators.Go(func() {
			token, err := n.index.Create(s.Context(), fleet.TokenID("raced"), "me")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				tokens = append(tokens, token)
			} else if !errors.Is(err, tokencache.ErrExists) {
				s.Error(err)
			}
		})
	}
	creators.Wait()
	if len(tokens) != 1 {
		s.Fatalf("%d nodes got the token", len(tokens))
	}
	s.polled()
	s.all(tokens[0], "confirmed")
}

// restored revokes by a backup that does not know the token, and goes past the rev that
// the nodes have seen.
func (s *scene) restored() {
	backup, err := s.server.Backup()
	if err != nil {
		s.Fatal(err)
	}
	s.prepare(99)
	if err := s.server.Restore(backup); err != nil {
		s.Fatal(err)
	}
	for range 10 {
		s.exec("UPDATE svctoken_tokens SET creator = 'x'")
	}
}
