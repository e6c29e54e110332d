package enginetest

import (
	"errors"
	"testing"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
)

// later upgrades a schema to a version after this program's. That adds a column whose
// changes are of a new kind, and lets this program's version read it.
var later = map[sqlindex.Dialect][]string{
	sqlindex.SQLite: {
		"ALTER TABLE svctoken_tokens ADD COLUMN scope TEXT NOT NULL DEFAULT ''",
		`CREATE TRIGGER svctoken_tokens_scope AFTER UPDATE OF scope ON svctoken_tokens BEGIN
			UPDATE svctoken_meta SET rev = rev + 1;
			INSERT INTO svctoken_changes SELECT rev, 'scope', NEW.namespace, NEW.service, NEW.name FROM svctoken_meta;
		END`,
		"UPDATE svctoken_meta SET format = 5, readable_by = 4, rev = rev + 1",
	},
	sqlindex.PostgreSQL: {
		"ALTER TABLE svctoken_tokens ADD COLUMN scope TEXT NOT NULL DEFAULT ''",
		`CREATE FUNCTION svctoken_scope() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			UPDATE svctoken_meta SET rev = rev + 1;
			INSERT INTO svctoken_changes SELECT rev, 'scope', NEW.namespace, NEW.service, NEW.name FROM svctoken_meta;
			RETURN NULL;
		END $$`,
		"CREATE TRIGGER svctoken_tokens_scope AFTER UPDATE OF scope ON svctoken_tokens FOR EACH ROW EXECUTE FUNCTION svctoken_scope()",
		"UPDATE svctoken_meta SET format = 5, readable_by = 4, rev = rev + 1",
	},
}

// TestTwoVersions: programs of this version and of a later one use one database. What
// both know works as before. A change that only the later one knows makes this one forget
// everything. Once the later one says that this one must not read the schema any more, it
// confirms nothing.
func TestTwoVersions(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		n := d.node(t, sqlindex.Config{})
		token, other := n.create(t, "token1"), n.create(t, "token2")
		n.poll(t)
		n.want(t, token, "confirmed")
		transactionOf(t, d, later[d.kind])
		n.poll(t)
		wantHits(t, n, 1, func() { n.want(t, token, "confirmed") })
		if err := n.index.Migrate(t.Context()); err != nil {
			t.Errorf("a later schema that this version may read: %v", err)
		}
		late := d.node(t, sqlindex.Config{}) // it starts afterwards
		for _, change := range []func() error{
			func() error { return n.index.SetEnabled(t.Context(), token.ID(), false) },
			func() error { return late.index.SetEnabled(t.Context(), token.ID(), true) },
		} {
			if err := change(); err != nil {
				t.Fatal(err)
			}
		}
		transactionOf(t, d, []string{"INSERT INTO svctoken_tokens (namespace, service, name, hash, scope) VALUES ('elastic', 'fleet-server', 'token3', 'x', 'read')"})
		n.poll(t)
		n.want(t, token, "confirmed")
		n.want(t, other, "confirmed")
		transactionOf(t, d, []string{"UPDATE svctoken_tokens SET scope = 'write' WHERE name = 'token2'"})
		n.poll(t)
		wantHits(t, n, 0, func() { n.want(t, token, "confirmed") })
		transactionOf(t, d, []string{"UPDATE svctoken_meta SET readable_by = 5, rev = rev + 1"})
		if err := n.index.Poll(t.Context()); err != nil {
			t.Error(err)
		}
		if st := n.index.Status(); !errors.Is(st.Err, sqlindex.ErrFormat) || st.State != (indexsource.State{}) {
			t.Errorf("a schema that this version must not read: got %+v", st)
		}
		if _, err := n.cache.AuthenticateToken(t.Context(), token); !errors.Is(err, sqlindex.ErrFormat) {
			t.Errorf("got %v", err)
		}
		if err := n.index.Migrate(t.Context()); !errors.Is(err, sqlindex.ErrFormat) {
			t.Errorf("migrate: got %v", err)
		}
		transactionOf(t, d, []string{"UPDATE svctoken_meta SET readable_by = 4, rev = rev + 1"})
		n.poll(t)
		n.want(t, token, "confirmed")
	})
}

// wantHits calls a function, in which the cache must answer so many times from memory.
func wantHits(t *testing.T, n *node, want uint64, do func()) {
	t.Helper()
	before := n.cache.Stats().Hits
	do()
	if got := n.cache.Stats().Hits - before; got != want {
		t.Errorf("got %d hits, want %d", got, want)
	}
}
