package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// TestDocuments: a document is read as it was written, and a missing one is reported as
// missing.
func TestDocuments(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		ctx, ix, id := t.Context(), d.index(t, d.open(t), sqlindex.Config{}), fleet.TokenID("token1")
		get := func() string {
			doc, ok, err := ix.Get(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return "no document"
			}
			return fmt.Sprintf("%s by %s, enabled: %v", doc.Token.Name, doc.Creator, doc.Enabled)
		}
		absent := get()
		token, err := ix.Create(ctx, id, "wîlma")
		if err != nil {
			t.Fatal(err)
		}
		created := get()
		_, conflict := ix.Create(ctx, id, "fred")
		doc, _, _ := ix.Get(ctx, id)
		if !doc.Hash.Verify(token.Secret()) || time.Since(doc.Created) > time.Minute || time.Since(doc.Created) < -time.Second {
			t.Errorf("got %+v", doc)
		}
		if err := ix.SetEnabled(ctx, id, false); err != nil {
			t.Fatal(err)
		}
		afterDisable := get()
		rotated, err := ix.Rotate(ctx, id, 0, "wilma")
		if err != nil {
			t.Fatal(err)
		}
		doc, _, _ = ix.Get(ctx, id)
		if !doc.Hash.Verify(rotated.Secret()) || doc.Hash.Verify(token.Secret()) {
			t.Error("rotated: not the new secret, or still the old one")
		}
		afterRotate := get()
		put := indexsource.Document{Token: id, Created: time.UnixMilli(1_700_000_000_123), Creator: "barney", Enabled: true, Hash: tokenhash.New(token.Secret())}
		if err := ix.Put(ctx, put); err != nil {
			t.Fatal(err)
		}
		afterPut := get()
		doc, _, _ = ix.Get(ctx, id)
		if !doc.Created.Equal(put.Created) || doc.Hash.Reveal() != put.Hash.Reveal() {
			t.Errorf("put: got %+v", doc)
		}
		if err := ix.Delete(ctx, id); err != nil {
			t.Fatal(err)
		}
		afterDelete := get()
		_, rotateErr := ix.Rotate(ctx, id, time.Hour, "me")
		for _, err := range []error{ix.Delete(ctx, id), ix.SetEnabled(ctx, id, true), ix.SetExpiry(ctx, id, time.Now()), rotateErr} {
			if !errors.Is(err, tokencache.ErrNotFound) || errors.Is(err, sqlindex.ErrUnconfirmed) {
				t.Errorf("a change of what is absent: got %v", err)
			}
		}
		got := []string{absent, created, afterDisable, afterRotate, afterPut, afterDelete, fmt.Sprint(errors.Is(conflict, tokencache.ErrExists))}
		want := []string{
			"no document", "token1 by wîlma, enabled: true", "token1 by wîlma, enabled: false", "token1 by wîlma, enabled: false",
			"token1 by barney, enabled: true", "no document", "true",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestList: the tokens of an account, or of all, in the order of bytes, with no hashes.
func TestList(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		ctx, db := t.Context(), d.open(t)
		ix := d.index(t, db, sqlindex.Config{})
		kibana := tokencache.Account{Namespace: "elastic", Service: "kibana"}
		var ids []tokencache.TokenID
		for _, name := range []string{"A", "B-1", "B_1", "a", "b", "b1", "b10", "b2"} {
			ids = append(ids, fleet.TokenID(name))
		}
		ids = append(ids, kibana.TokenID("A"), kibana.TokenID("z"))
		for _, i := range []int{3, 8, 0, 5, 2, 9, 1, 7, 4, 6} {
			if err := ix.Put(ctx, indexsource.Document{Token: ids[i], Enabled: true, Creator: "me"}); err != nil {
				t.Fatal(err)
			}
		}
		for account, want := range map[tokencache.Account][]tokencache.TokenID{fleet: ids[:8], kibana: ids[8:], {Namespace: "x", Service: "y"}: nil} {
			docs, err := ix.List(ctx, account)
			if err != nil {
				t.Fatal(err)
			}
			var got []tokencache.TokenID
			for _, doc := range docs {
				got = append(got, doc.Token)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%v (-want +got):\n%s", account, diff)
			}
		}
		// More than All reads at once.
		execSQL(t, db, "INSERT INTO svctoken_tokens (namespace, service, name, hash) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) SELECT 'zz', 'b', 'c' || i, '' FROM n")
		var got []tokencache.TokenID
		for doc, err := range ix.All(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, doc.Token)
		}
		if diff := cmp.Diff(ids, got[:len(ids)]); diff != "" || len(got) != 2510 || !slices.IsSortedFunc(got, byName) || len(slices.Compact(got)) != 2510 {
			t.Errorf("all: got %d (-want +got):\n%s", len(got), diff)
		}
		for _, err := range ix.All(expired(t)) {
			if err == nil {
				t.Error("with a context that has ended there is no error")
			}
		}
	})
}

func byName(a, b tokencache.TokenID) int { return strings.Compare(a.String(), b.String()) }

func expired(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// TestChangesOfThisProcess: a change is visible before the caches are told, and they have
// been told before it is reported as done.
func TestChangesOfThisProcess(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		ctx, id := t.Context(), fleet.TokenID("token1")
		n := d.node(t, sqlindex.Config{})
		get := func() string {
			doc, ok, err := n.index.Get(ctx, id)
			return fmt.Sprint(ok, doc.Enabled, doc.Creator, err)
		}
		var seen []string
		again := 0
		defer n.source.Subscribe(onEviction(func() { seen = append(seen, get()) }))()
		for i, do := range []func() error{
			func() error { _, err := n.index.Create(ctx, id, "a"); return err },
			func() error { return n.index.SetEnabled(ctx, id, false) },
			func() error { return n.index.Put(ctx, indexsource.Document{Token: id, Creator: "b"}) },
			func() error { return n.index.Delete(ctx, id) },
		} {
			seen = nil
			if err := do(); err != nil {
				t.Fatal(err)
			}
			if len(seen) == 0 || seen[0] != get() {
				t.Errorf("change %d: the index showed %q when the cache was told, and %q afterwards", i, seen, get())
			}
			seen = nil
			n.poll(t)
			again += min(len(seen), 1)
		}
		// The poller's own first poll may run during one of the changes, which leaves it
		// to the next one.
		if again > 2 {
			t.Errorf("the next poll reported %d of 4 changes once more", again)
		}
	})
}

type onEviction func()

func (f onEviction) Clear(context.Context, tokencache.Cause) int { return 0 }
func (f onEviction) Evict(context.Context, tokencache.Cause, ...tokencache.Selector) int {
	f()
	return 0
}

// TestRacingCreators: of many callers that create one name, one gets a token, and it
// works.
func TestRacingCreators(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		nodes := []*node{d.node(t, sqlindex.Config{}), d.node(t, sqlindex.Config{})}
		for round := range 10 {
			id := fleet.TokenID(fmt.Sprintf("token%d", round))
			var mu sync.Mutex
			var tokens []tokencache.Token
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					token, err := nodes[i%2].index.Create(t.Context(), id, "me")
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						tokens = append(tokens, token)
					} else if !errors.Is(err, tokencache.ErrExists) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if len(tokens) != 1 {
				t.Fatalf("%d of 8 creators got a token", len(tokens))
			}
			for _, n := range nodes {
				n.poll(t)
				n.want(t, tokens[0], "confirmed")
			}
		}
	})
}

// TestRealErrorsShowNoHash: even though PostgreSQL quotes the row when a constraint
// fails.
func TestRealErrorsShowNoHash(t *testing.T) {
	each(t, func(t *testing.T, d database) {
		db := d.open(t)
		ix := d.index(t, db, sqlindex.Config{})
		if d.kind == sqlindex.SQLite {
			execSQL(t, db, "CREATE TRIGGER no BEFORE INSERT ON svctoken_tokens BEGIN SELECT RAISE(ABORT, 'no'); END")
		} else {
			execSQL(t, db, "ALTER TABLE svctoken_tokens ADD CHECK (length(hash) < 10)")
		}
		secret := tokencache.GenerateSecret()
		hash := tokenhash.New(secret)
		err := ix.Put(t.Context(), indexsource.Document{Token: fleet.TokenID("x"), Hash: hash})
		if err == nil {
			t.Fatal("it was written")
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if shown := fmt.Sprintf("%v %+v %#v", e, e, e); strings.Contains(shown, hash.Reveal()) || strings.Contains(shown, "Failing row") {
				t.Errorf("the row shows: %s", shown)
			}
		}
	})
}
