package enginetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// TestWholeDocument: Put and Get keep every field, times to the millisecond.
func TestWholeDocument(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		ix := d.index(t, d.open(t), sqlindex.Config{})
		at := func(ms int64) time.Time { return time.UnixMilli(1_700_000_000_000 + ms) }
		want := indexsource.Document{
			Token: fleet.TokenID("token1"), Created: at(1), Creator: "wîlma", Enabled: true, Expires: at(2), Hash: tokenhash.New(tokencache.GenerateSecret()),
			Rotated: at(3), RotatedBy: "barney", Previous: tokenhash.Stretched(tokencache.GenerateSecret()), PreviousExpires: at(4),
		}
		for range 2 { // inserted, and then replaced
			if err := ix.Put(t.Context(), want); err != nil {
				t.Fatal(err)
			}
			got, _, err := ix.Get(t.Context(), want.Token)
			if err != nil {
				t.Fatal(err)
			}
			byText := cmp.Comparer(func(a, b tokenhash.Hash) bool { return a.Reveal() == b.Reveal() })
			if diff := cmp.Diff(want, got, byText); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			want = indexsource.Document{Token: want.Token, Created: at(5)}
		}
	})
}

// TestRotationOnEveryNode: both secrets are good on every node until the grace has
// passed, and afterwards only the new one, without another change.
func TestRotationOnEveryNode(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		a, b := d.node(t, sqlindex.Config{}), d.node(t, sqlindex.Config{})
		before := a.create(t, "token1")
		b.want(t, before, "confirmed")
		const grace = 2 * time.Second
		began := time.Now()
		after, err := a.index.Rotate(t.Context(), before.ID(), grace, "wilma")
		if err != nil {
			t.Fatal(err)
		}
		b.poll(t)
		var got []string
		for range 2 {
			for _, n := range []*node{a, b} {
				got = append(got, n.ask(t.Context(), before), n.ask(t.Context(), after))
			}
		}
		if want := strings.Repeat("confirmed ", 8); strings.Join(got, " ")+" " != want && time.Since(began) < grace {
			t.Errorf("within the grace: got %v", got)
		}
		time.Sleep(time.Until(began.Add(grace + time.Second)))
		for _, n := range []*node{a, b} {
			n.want(t, before, "refused")
			n.want(t, after, "confirmed")
		}
		doc, _, _ := b.index.Get(t.Context(), before.ID())
		if doc.RotatedBy != "wilma" || doc.Rotated.Before(began.Add(-time.Millisecond)) || !doc.PreviousExpires.Equal(doc.Rotated.Add(grace)) {
			t.Errorf("got %+v", doc)
		}
		if _, err := a.index.Rotate(t.Context(), before.ID(), -1, "wilma"); err == nil {
			t.Error("a negative grace is taken")
		}
	})
}

// TestExpiryOnEveryNode: an expiry ends cached entries by each node's own clock, and may
// be set and removed later.
func TestExpiryOnEveryNode(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		a, b := d.node(t, sqlindex.Config{}), d.node(t, sqlindex.Config{})
		began := time.Now()
		token, err := a.index.CreateUntil(t.Context(), fleet.TokenID("token1"), "me", began.Add(2*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []*node{a, b} {
			if got := n.ask(t.Context(), token); got != "confirmed" && time.Since(began) < 2*time.Second {
				t.Errorf("before: got %s", got)
			}
		}
		time.Sleep(time.Until(began.Add(3 * time.Second)))
		for _, n := range []*node{a, b} {
			n.want(t, token, "refused")
		}
		for _, step := range []struct {
			expires time.Time
			want    string
		}{{time.Now().Add(time.Hour), "confirmed"}, {time.Now().Add(-time.Second), "refused"}, {time.Time{}, "confirmed"}} {
			if err := a.index.SetExpiry(t.Context(), token.ID(), step.expires); err != nil {
				t.Fatal(err)
			}
			b.poll(t)
			a.want(t, token, step.want)
			b.want(t, token, step.want)
		}
	})
}

// TestHistory: the history has each change with its user, deletions and changes by SQL
// included, newest first.
func TestHistory(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		n := d.node(t, sqlindex.Config{})
		ctx := indexsource.WithActor(t.Context(), "barney")
		id := n.create(t, "token1").ID()
		n.create(t, "token2")
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		_, err := n.index.Rotate(ctx, id, time.Hour, "wilma")
		check(err)
		check(n.index.SetEnabled(ctx, id, false))
		check(n.index.SetExpiry(ctx, id, time.Now()))
		transaction(t, d, "UPDATE svctoken_tokens SET enabled = TRUE, expires = NULL WHERE name = 'token1'; UPDATE svctoken_tokens SET creator = 'x' WHERE name = 'token1'; UPDATE svctoken_tokens SET hash = hash")
		check(n.index.Delete(ctx, id))
		if _, err := n.index.Create(ctx, fleet.TokenID("token2"), "x"); err == nil {
			t.Error("it is there already")
		}
		sql := "sql:"
		if d.kind == sqlindex.PostgreSQL {
			sql = "sql:postgres"
		}
		got := func(name string, limit int) (lines []string) {
			t.Helper()
			events, err := n.index.History(t.Context(), fleet, name, limit)
			check(err)
			for i, e := range events {
				if time.Since(e.At).Abs() > time.Minute || i > 0 && e.Rev > events[i-1].Rev {
					t.Errorf("got %v at rev %d", e.At, e.Rev)
				}
				lines = append(lines, e.Token.Name+" "+e.What+" by "+e.By)
			}
			return lines
		}
		want := []string{
			"token1 deleted by barney", "token1 changed by " + sql, "token1 enabled, expiry set by " + sql, "token1 expiry set by barney",
			"token1 disabled by barney", "token1 rotated by wilma", "token1 created by operator",
		}
		if diff := cmp.Diff(want, got("token1", 0)); diff != "" {
			t.Errorf("of a token (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want[:2], got("", 2)); diff != "" {
			t.Errorf("the last two (-want +got):\n%s", diff)
		}
		if events, err := n.index.History(t.Context(), tokencache.Account{}, "", 0); err != nil || len(events) != 8 {
			t.Errorf("of all: got %d, %v", len(events), err)
		}
	})
}

// TestDeleteAccount: all tokens of an account go in one transaction, on every node, and
// none of another account.
func TestDeleteAccount(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		a, b := d.node(t, sqlindex.Config{}), d.node(t, sqlindex.Config{})
		tokens := []tokencache.Token{a.create(t, "token1"), a.create(t, "token2")}
		other, err := a.index.Create(t.Context(), tokencache.Account{Namespace: "elastic", Service: "fleet-server2"}.TokenID("token1"), "me")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []*node{a, b} {
			n.poll(t)
			for _, token := range append(tokens, other) {
				n.want(t, token, "confirmed")
			}
		}
		hits := b.cache.Stats().Hits
		if n, err := a.index.DeleteAccount(t.Context(), fleet); n != 2 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
		b.poll(t)
		for _, n := range []*node{a, b} {
			for _, token := range tokens {
				n.want(t, token, "refused")
			}
			n.want(t, other, "confirmed")
		}
		if b.cache.Stats().Hits != hits+1 {
			t.Error("a token of another account was forgotten")
		}
		if n, err := a.index.DeleteAccount(t.Context(), fleet); n != 0 || err != nil {
			t.Errorf("of none: got %d, %v", n, err)
		}
	})
}

// TestHostsOwnColumn: a write to a column of the host's own is not a change of tokens,
// nor is an update that changes nothing, or no row.
func TestHostsOwnColumn(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		n := d.node(t, sqlindex.Config{})
		token := n.create(t, "token1")
		db := d.open(t)
		execSQL(t, db, "ALTER TABLE svctoken_tokens ADD COLUMN last_used BIGINT")
		n.poll(t)
		n.want(t, token, "confirmed")
		before, rev := n.cache.Stats(), n.index.Status().Rev
		for i := range 10 {
			execSQL(t, db, fmt.Sprintf("UPDATE svctoken_tokens SET last_used = %d", i))
			execSQL(t, db, "UPDATE svctoken_tokens SET enabled = enabled, hash = hash, creator = creator")
			execSQL(t, db, "UPDATE svctoken_tokens SET enabled = FALSE WHERE name = 'nobody'")
			execSQL(t, db, "DELETE FROM svctoken_tokens WHERE name = 'nobody'")
			n.poll(t)
			n.want(t, token, "confirmed")
		}
		if after := n.cache.Stats(); after.Loads != before.Loads || n.index.Status().Rev != rev {
			t.Errorf("got %d loads, and rev %d after %d; want no load, and the same rev", after.Loads-before.Loads, n.index.Status().Rev, rev)
		}
	})
}

// TestLastUses: the later time counts, a use is not a change, a token that was created
// again has no uses, and uses of deleted tokens are removed.
func TestLastUses(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		n := d.node(t, sqlindex.Config{})
		id := n.create(t, "token1").ID()
		n.create(t, "token2")
		n.poll(t)
		rev := n.index.Status().Rev
		used := time.UnixMilli(time.Now().Add(time.Hour).UnixMilli())
		last := func() map[string]time.Time {
			t.Helper()
			got, err := n.index.LastUses(t.Context(), fleet)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		for _, at := range []time.Time{used.Add(-time.Minute), used, used.Add(-time.Second)} {
			if err := n.index.NoteUses(t.Context(), map[tokencache.TokenID]time.Time{id: at, fleet.TokenID("nobody"): at}); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(map[string]time.Time{"token1": used}, last()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		n.poll(t)
		if got := n.index.Status().Rev; got != rev {
			t.Errorf("a use made rev %d of %d", got, rev)
		}
		db := d.open(t)
		execSQL(t, db, "UPDATE svctoken_used SET used = used - 86400000")
		if got := last(); len(got) != 0 {
			t.Errorf("used before it was created: got %v", got)
		}
		if err := n.index.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		other := d.index(t, db, sqlindex.Config{}) // removes old uses at its first call
		if err := other.NoteUses(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		var rows int
		if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM svctoken_used").Scan(&rows); err != nil || rows != 0 {
			t.Errorf("got %d rows, %v", rows, err)
		}
	})
}

// TestEvictionReachesEveryNode: it also evicts from caches beside the index's, and
// nothing else. A node that cannot know what it has missed clears its groups.
func TestEvictionReachesEveryNode(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		a, b := d.nodeWithFile(t), d.nodeWithFile(t)
		for _, names := range []string{"token1", "*", "token1,token3"} {
			for _, n := range []fileNode{a, b} {
				n.fill(t)
			}
			report, err := a.evictor.Evict(t.Context(), "elastic", "fleet-server", names)
			if err != nil || report.Evicted["file"] == 0 || report.Duration <= 0 {
				t.Errorf("%s: got %+v, %v", names, report, err)
			}
			b.poll(t)
			want := 1
			if names == "*" {
				want = 0
			}
			for i, n := range []fileNode{a, b} {
				if got := n.file.Stats().Entries; got != want {
					t.Errorf("%s, node %d: got %d entries of the file, want %d", names, i, got, want)
				}
			}
		}
		b.fill(t)
		transaction(t, d, "UPDATE svctoken_meta SET swept = rev + 1, rev = rev + 1")
		b.poll(t)
		if got := b.file.Stats().Entries; got != 0 {
			t.Errorf("a node that cannot know what it has missed remembers %d tokens of the file", got)
		}
		if _, err := a.evictor.Evict(t.Context(), "elastic", "fleet-server", "a b"); err == nil {
			t.Error("an invalid name is taken")
		}
		if _, err := a.evictor.Evict(expired(t), "elastic", "fleet-server", "*"); err == nil || a.file.Stats().Entries != 0 {
			t.Errorf("with a context that has ended: got %v, and %d entries", err, a.file.Stats().Entries)
		}
	})
}

// A fileNode has a second cache in its group.
type fileNode struct {
	*node
	file    *tokencache.Cache[indexsource.Document]
	evictor evict.Evictor
	tokens  []tokencache.Token // of the second cache
}

func (d database) nodeWithFile(t *testing.T) fileNode {
	t.Helper()
	var memory indexsource.Memory
	n := fileNode{node: d.node(t, sqlindex.Config{})}
	for _, name := range []string{"token1", "token2"} {
		token, err := memory.Create(t.Context(), fleet.TokenID(name), "me")
		if err != nil {
			t.Fatal(err)
		}
		n.tokens = append(n.tokens, token)
	}
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	t.Cleanup(group.Close)
	var err error
	if n.file, err = tokencache.New(group, "file", indexsource.New(&memory), tokencache.Config{}); err != nil {
		t.Fatal(err)
	}
	n.evictor = n.index.Evictor(group)
	return n
}

// fill makes the second cache remember its tokens.
func (n fileNode) fill(t *testing.T) {
	t.Helper()
	for _, token := range n.tokens {
		if _, err := n.file.AuthenticateToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUpgrade: a schema from before version 4 is brought up to date with its data, and a
// program from before it confirms nothing any more.
func TestUpgrade(t *testing.T) {
	for _, d := range []database{sqlite(t), postgres(t)} {
		all, err := sqlindex.Migrations(d.kind)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all[:len(all)-1] {
			transactionOf(t, d, m.Statements)
		}
		db := d.open(t)
		token := newToken(t, "token1")
		execSQL(t, db, "INSERT INTO svctoken_tokens (namespace, service, name, creator, hash) VALUES ('elastic', 'fleet-server', 'token1', 'wilma', $1)", hashOf(token))
		execSQL(t, db, "ALTER TABLE svctoken_tokens ADD COLUMN own TEXT")
		ix := d.index(t, db, sqlindex.Config{})
		_, _, err = ix.Get(t.Context(), token.ID())
		if !errors.Is(err, sqlindex.ErrFormat) || !errors.Is(ix.Poll(t.Context()), sqlindex.ErrFormat) || ix.Status().State != (indexsource.State{}) {
			t.Errorf("%v, before: got %v, and %+v", d.kind, err, ix.Status())
		}
		if err := ix.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := d.node(t, sqlindex.Config{})
		n.want(t, token, "confirmed")
		if docs, err := n.index.List(t.Context(), fleet); err != nil || len(docs) != 1 || docs[0].Creator != "wilma" || !docs[0].Expires.IsZero() {
			t.Errorf("%v: got %+v, %v", d.kind, docs, err)
		}
		execSQL(t, db, "UPDATE svctoken_tokens SET own = 'x', enabled = FALSE")
		n.poll(t)
		n.want(t, token, "refused")
	}
}
