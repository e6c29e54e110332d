package indexsource_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// TestRotate: both secrets are good until the grace has passed, then the new one; of a
// rotation without a grace, the new one.
func TestRotate(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			var index indexsource.Memory
			_, cache := newCache(t, &index)
			defer cache.Close()
			before := create(t, &index, "a")
			outcome(t, cache, before) // the cache remembers it
			after, err := index.Rotate(t.Context(), before.ID(), grace, "wilma")
			if err != nil {
				t.Fatal(err)
			}
			inGrace := "refused"
			if grace > 0 {
				inGrace = "ok"
			}
			for range 2 { // by a load, and from memory
				if b, a := outcome(t, cache, before), outcome(t, cache, after); b != inGrace || a != "ok" {
					t.Errorf("grace %v: the old secret: %s, the new one: %s; want %s and ok", grace, b, a, inGrace)
				}
			}
			doc, _, _ := index.Get(t.Context(), before.ID())
			if doc.RotatedBy != "wilma" || !doc.Rotated.Equal(time.Now()) || grace > 0 && !doc.PreviousExpires.Equal(time.Now().Add(grace)) {
				t.Errorf("got rotated by %q at %v, the old secret until %v", doc.RotatedBy, doc.Rotated, doc.PreviousExpires)
			}
			time.Sleep(grace + 2*time.Second)
			if b, a := outcome(t, cache, before), outcome(t, cache, after); b != "refused" || a != "ok" {
				t.Errorf("after the grace %v: the old secret: %s, the new one: %s", grace, b, a)
			}
		})
	}
}

// TestRotateTwice: of several old secrets the last is good.
func TestRotateTwice(t *testing.T) {
	var index indexsource.Memory
	_, cache := newCache(t, &index)
	tokens := []tokencache.Token{create(t, &index, "a")}
	for range 2 {
		token, err := index.Rotate(t.Context(), tokens[0].ID(), time.Hour, "me")
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	var got []string
	for _, token := range tokens {
		got = append(got, outcome(t, cache, token))
	}
	if diff := cmp.Diff([]string{"refused", "ok", "ok"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := index.Rotate(t.Context(), tokens[0].ID(), -1, "me"); err == nil {
		t.Error("a negative grace is taken")
	}
}

// TestSetExpiry: an expiry can be set, changed and removed, and ends cached entries.
func TestSetExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var index indexsource.Memory
		_, cache := newCache(t, &index)
		defer cache.Close()
		token, err := index.CreateUntil(t.Context(), fleet.TokenID("a"), "me", time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		ask := func() { got = append(got, outcome(t, cache, token)) }
		ask()
		time.Sleep(62 * time.Second)
		ask()
		index.SetExpiry(t.Context(), token.ID(), time.Now().Add(time.Hour))
		ask()
		index.SetExpiry(t.Context(), token.ID(), time.Now().Add(-time.Second))
		ask()
		index.SetExpiry(t.Context(), token.ID(), time.Time{})
		ask()
		if diff := cmp.Diff([]string{"ok", "refused", "ok", "refused", "ok"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestListOfOneAccount: it looks only at the account's tokens. When it looked at all, it
// took 193 ms with a million tokens of others.
func TestListOfOneAccount(t *testing.T) {
	var index indexsource.Memory
	for i := range 20_000 {
		account := tokencache.Account{Namespace: "a", Service: fmt.Sprint("s", i/10)}
		if err := index.Put(t.Context(), indexsource.Document{Token: account.TokenID(fmt.Sprint("t", i%10))}); err != nil {
			t.Fatal(err)
		}
	}
	account := tokencache.Account{Namespace: "a", Service: "s7"}
	cost := testing.AllocsPerRun(10, func() {
		if docs, err := index.List(t.Context(), account); err != nil || len(docs) != 10 || docs[0].Token.Name != "t0" {
			t.Errorf("got %d documents, %v", len(docs), err)
		}
	})
	if cost > 10 {
		t.Errorf("got %v allocations", cost)
	}
}
