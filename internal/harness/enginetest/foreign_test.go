package enginetest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// TestForeignWriters: whatever is done to a token by SQL behind the library's back,
// every node knows it after its next poll, and forgets no other token.
func TestForeignWriters(t *testing.T) {
	const key = "namespace = 'elastic' AND service = 'fleet-server' AND name = 'token1'"
	both := []sqlindex.Dialect{sqlindex.SQLite, sqlindex.PostgreSQL}
	for _, test := range []struct {
		name    string
		sql     string // statements of one transaction, between semicolons
		token1  string // afterwards
		other   int    // hits of the other token afterwards: 1, or 0 if everything goes
		engines []sqlindex.Dialect
	}{
		{"disable", "UPDATE svctoken_tokens SET enabled = FALSE WHERE " + key, "refused", 1, both},
		{"delete", "DELETE FROM svctoken_tokens WHERE " + key, "refused", 1, both},
		{"delete and insert", "DELETE FROM svctoken_tokens WHERE " + key + "; INSERT INTO svctoken_tokens (namespace, service, name, hash) VALUES ('elastic', 'fleet-server', 'token1', 'x')", "error", 1, both},
		{"another hash", "UPDATE svctoken_tokens SET hash = (SELECT hash FROM svctoken_tokens WHERE name = 'token2') WHERE " + key, "refused", 1, both},
		{"rename", "UPDATE svctoken_tokens SET name = 'token9' WHERE " + key, "refused", 1, both},
		{"rename to and fro", "UPDATE svctoken_tokens SET name = 'token9' WHERE " + key + "; UPDATE svctoken_tokens SET name = 'token1', enabled = FALSE WHERE name = 'token9'", "refused", 1, both},
		{"expiry", "UPDATE svctoken_tokens SET expires = 1 WHERE " + key, "refused", 1, both},
		{"changed to and fro", "UPDATE svctoken_tokens SET enabled = FALSE WHERE " + key + "; UPDATE svctoken_tokens SET enabled = TRUE WHERE " + key, "confirmed", 1, both},
		{"two tokens change their names", "UPDATE svctoken_tokens SET name = 'x' WHERE " + key + "; UPDATE svctoken_tokens SET name = 'token1' WHERE name = 'token3'; UPDATE svctoken_tokens SET name = 'token3' WHERE name = 'x'", "refused", 1, both},
		{"upsert", "INSERT INTO svctoken_tokens (namespace, service, name, hash, enabled) VALUES ('elastic', 'fleet-server', 'token1', '', FALSE) ON CONFLICT (namespace, service, name) DO UPDATE SET enabled = EXCLUDED.enabled", "refused", 1, both},
		{"disabled and enabled by a trigger of the host's", "HOSTTRIGGER; UPDATE svctoken_tokens SET hash = hash WHERE " + key, "refused", 1, both},
		{"by a trigger of the host's, when its own column is written", "ALTER TABLE svctoken_tokens ADD COLUMN own INTEGER; OWNTRIGGER(enabled = FALSE); UPDATE svctoken_tokens SET own = 1 WHERE " + key, "refused", 1, both},
		{"another hash by a trigger of the host's", "ALTER TABLE svctoken_tokens ADD COLUMN own INTEGER; OWNTRIGGER(hash = FALSE); UPDATE svctoken_tokens SET own = 1 WHERE " + key, "error", 1, both},
		{"every account", "UPDATE svctoken_tokens SET enabled = FALSE", "refused", 0, both},
		{"replace", "REPLACE INTO svctoken_tokens (namespace, service, name, hash, enabled) VALUES ('elastic', 'fleet-server', 'token1', '', FALSE)", "refused", 1, both[:1]},
		{"update or replace", "UPDATE OR REPLACE svctoken_tokens SET name = 'token1', enabled = FALSE WHERE name = 'token3'", "refused", 1, both[:1]},
		{"truncate", "TRUNCATE svctoken_tokens", "refused", 0, both[1:]},
		{"replication role", "SET LOCAL session_replication_role = replica; DELETE FROM svctoken_tokens WHERE " + key, "refused", 1, both[1:]},
		{"another search_path", "SET LOCAL search_path = pg_catalog; DELETE FROM SCHEMA.svctoken_tokens WHERE " + key, "refused", 1, both[1:]},
		{"another identity", "UPDATE svctoken_meta SET uuid = 'x'; UPDATE svctoken_tokens SET enabled = FALSE WHERE " + key, "refused", 0, both},
	} {
		t.Run(test.name, func(t *testing.T) {
			each(t, func(t *testing.T, d database) {
				if len(test.engines) == 1 && test.engines[0] != d.kind {
					t.Skip("not SQL of this engine")
				}
				nodes := []*node{d.node(t, sqlindex.Config{}), d.node(t, sqlindex.Config{})}
				token1, token2 := nodes[0].create(t, "token1"), nodes[0].create(t, "token2")
				nodes[0].create(t, "token3")
				for _, n := range nodes {
					n.poll(t)
					n.want(t, token1, "confirmed")
					n.want(t, token2, "confirmed")
				}
				transaction(t, d, ownTrigger.ReplaceAllString(strings.ReplaceAll(test.sql, "HOSTTRIGGER", hostTrigger[d.kind]), ownTriggers[d.kind]))
				for _, n := range nodes {
					n.poll(t)
					got := n.ask(t.Context(), token1)
					if test.token1 == "error" && !strings.Contains(got, "password hash") || test.token1 != "error" && got != test.token1 {
						t.Errorf("token1: got %q, want %s", got, test.token1)
					}
					hits := n.cache.Stats().Hits
					n.ask(t.Context(), token2)
					if got := int(n.cache.Stats().Hits - hits); got != test.other {
						t.Errorf("token2: got %d hits, want %d", got, test.other)
					}
				}
			})
		})
	}
}

// transaction runs statements behind the library's back.
func transaction(t testing.TB, d database, statements string) {
	t.Helper()
	var list []string
	open := false // in a body
	for part := range strings.SplitSeq(strings.ReplaceAll(statements, "SCHEMA", d.schema), "; ") {
		if open {
			list[len(list)-1] += "; " + part
		} else {
			list = append(list, part)
		}
		if strings.Contains(part, "BEGIN") {
			open = true
		}
		if strings.HasSuffix(part, "END") || strings.HasSuffix(part, "END'") {
			open = false
		}
	}
	transactionOf(t, d, list)
}

// TestForeignCreation: a token that was refused works once it exists.
func TestForeignCreation(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		n := d.node(t, sqlindex.Config{})
		token, err := tokencache.NewToken(fleet.TokenID("new"), tokencache.GenerateSecret())
		if err != nil {
			t.Fatal(err)
		}
		n.want(t, token, "refused")
		insert := "INSERT INTO svctoken_tokens (namespace, service, name, hash) VALUES ('elastic', 'fleet-server', 'new', '" + tokenhash.New(token.Secret()).Reveal() + "')"
		transaction(t, d, insert)
		n.poll(t)
		n.want(t, token, "confirmed")
	})
}

// TestHistoryTakenBack: anything that sets an index back, or makes its list of changes
// doubtful, empties the caches.
func TestHistoryTakenBack(t *testing.T) {
	quiet := "ALTER TABLE svctoken_tokens DISABLE TRIGGER USER; %s; ALTER TABLE svctoken_tokens ENABLE ALWAYS TRIGGER USER"
	for _, test := range []struct{ name, sql string }{
		{"a lower rev", "UPDATE svctoken_meta SET rev = rev - 1"},
		{"a lower rev without triggers", "ALTER TABLE svctoken_meta DISABLE TRIGGER USER; UPDATE svctoken_meta SET rev = rev - 1; ALTER TABLE svctoken_meta ENABLE ALWAYS TRIGGER svctoken_meta_rev"},
		{"the same rev by another way", "UPDATE svctoken_meta SET rev = rev - 1; UPDATE svctoken_meta SET rev = rev + 1"},
		{"a higher rev by another way", "UPDATE svctoken_meta SET rev = rev - 1; UPDATE svctoken_meta SET rev = rev + 5"},
		{"another identity", "UPDATE svctoken_meta SET uuid = 'another'"},
		{"changes gone", "UPDATE svctoken_meta SET swept = rev + 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			each(t, func(t *testing.T, d database) {
				if strings.HasPrefix(test.sql, "ALTER") && d.kind == sqlindex.SQLite {
					t.Skip("not SQL of this engine")
				}
				n := d.node(t, sqlindex.Config{})
				token := n.create(t, "token1")
				n.want(t, token, "confirmed")
				disable := "UPDATE svctoken_tokens SET enabled = FALSE"
				if d.kind == sqlindex.SQLite {
					transaction(t, d, test.sql)
				} else {
					transaction(t, d, strings.ReplaceAll(fmt.Sprintf(quiet, disable), "ENABLE ALWAYS TRIGGER USER", enableAll)+"; "+test.sql)
				}
				n.poll(t)
				if got := n.cache.Stats().Entries; got != 0 {
					t.Errorf("got %d entries, want none", got)
				}
				if d.kind == sqlindex.PostgreSQL {
					n.want(t, token, "refused")
				}
				if state := n.source.State(); state.Health != indexsource.HealthGreen || !state.UpToDate {
					t.Errorf("got %+v: %v", state, n.index.Status().Err)
				}
			})
		})
	}
}

const enableAll = "ENABLE TRIGGER USER, ENABLE ALWAYS TRIGGER svctoken_tokens_truncate, ENABLE REPLICA TRIGGER svctoken_tokens_replicate"

// hostTrigger is a trigger of the host's own, which disables whatever is updated. The
// statement that fires it names another column.
var hostTrigger = map[sqlindex.Dialect]string{
	sqlindex.SQLite: "CREATE TRIGGER zz_host AFTER UPDATE OF hash ON svctoken_tokens BEGIN UPDATE svctoken_tokens SET enabled = FALSE WHERE name = NEW.name; END",
	sqlindex.PostgreSQL: "CREATE FUNCTION host() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.enabled = FALSE; RETURN NEW; END'" +
		"; CREATE TRIGGER zz_host BEFORE UPDATE ON svctoken_tokens FOR EACH ROW EXECUTE FUNCTION host()",
}

// ownTriggers are triggers of the host's, which set a column of ours when it writes to its own.
var (
	ownTrigger  = regexp.MustCompile(`OWNTRIGGER\((\w+) = FALSE\)`)
	ownTriggers = map[sqlindex.Dialect]string{
		sqlindex.SQLite: "CREATE TRIGGER zz_own AFTER UPDATE OF own ON svctoken_tokens BEGIN UPDATE svctoken_tokens SET $1 = 0 WHERE name = NEW.name; END",
		sqlindex.PostgreSQL: "CREATE FUNCTION own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.$1 = FALSE; RETURN NEW; END'" +
			"; CREATE TRIGGER zz_own BEFORE UPDATE ON svctoken_tokens FOR EACH ROW EXECUTE FUNCTION own()",
	}
)

// TestManyChanges: more changes than a list may have empty the caches.
func TestManyChanges(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		n := d.node(t, sqlindex.Config{})
		token := n.create(t, "token1")
		n.want(t, token, "confirmed")
		transaction(t, d, "INSERT INTO svctoken_tokens (namespace, service, name, hash) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) SELECT 'a', 'b', 'c' || i, '' FROM n; UPDATE svctoken_tokens SET enabled = FALSE WHERE namespace = 'elastic'")
		n.poll(t)
		n.want(t, token, "refused")
		if got := n.cache.Stats().Entries; got != 0 {
			t.Errorf("got %d entries, want none", got)
		}
	})
}

// TestSweep: changes and marks do not pile up, and a node that was away for longer
// than they are kept clears its caches.
func TestSweep(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		n := d.node(t, sqlindex.Config{})
		token := n.create(t, "token1")
		n.want(t, token, "confirmed")
		db := d.open(t)
		execSQL(t, db, "DELETE FROM svctoken_tokens")
		execSQL(t, db, "UPDATE svctoken_meta SET rev = 102399 + 1024")
		execSQL(t, db, "UPDATE svctoken_meta SET rev = rev + 1")
		var changes, revs, swept int
		row := db.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM svctoken_changes), (SELECT count(*) FROM svctoken_revs), swept FROM svctoken_meta")
		if err := row.Scan(&changes, &revs, &swept); err != nil {
			t.Fatal(err)
		}
		if changes != 0 || revs != 2 || swept != 3424 {
			t.Errorf("got %d changes, %d marks, swept to %d", changes, revs, swept)
		}
		n.poll(t)
		n.want(t, token, "refused")
	})
}

// TestTriggersGone: without its triggers a schema is not up to date. The caches are
// cleared when a poll sees that, and at each poll from then on, since changes leave no
// trace.
func TestTriggersGone(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		n := d.node(t, sqlindex.Config{})
		token := n.create(t, "token1")
		n.want(t, token, "confirmed")
		if d.kind == sqlindex.SQLite {
			transaction(t, d, "DROP TRIGGER svctoken_tokens_update")
		} else {
			transaction(t, d, "ALTER TABLE svctoken_tokens DISABLE TRIGGER svctoken_tokens_update")
		}
		n.poll(t)
		if state := n.source.State(); state.UpToDate || n.cache.Stats().Entries != 0 {
			t.Errorf("got %+v with %d entries", state, n.cache.Stats().Entries)
		}
		db := d.open(t)
		for _, step := range []struct{ enabled, want string }{{"FALSE", "refused"}, {"TRUE", "confirmed"}, {"FALSE", "refused"}} {
			execSQL(t, db, "UPDATE svctoken_tokens SET enabled = "+step.enabled)
			n.poll(t)
			n.want(t, token, step.want)
		}
	})
}
