package tokentest

import (
	"context"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// A lister is an index that lists an account's tokens, as indexsource.Memory does.
type lister interface {
	List(context.Context, tokencache.Account) ([]indexsource.Document, error)
}

// checkListing: List has the account's documents, and each says what Get says: when and by
// whom the token was created, and all that has happened to it since.
func checkListing(s *indexSubject) {
	index, ok := s.index.(lister)
	s.needs(ok, "index with a method List")
	id := account.TokenID("token1")
	s.create(id)
	s.create(account.TokenID("token2"))
	s.create(kinds[3]) // of another account
	check := func(after string) {
		s.Helper()
		docs, err := index.List(s.Context(), account)
		if err != nil || len(docs) != 2 {
			s.Fatalf("List after %s: got %d documents, want 2, and error %v", after, len(docs), err)
		}
		for _, listed := range docs {
			got, ok, err := s.index.Get(s.Context(), listed.Token)
			if err != nil || !ok || !sameFacts(got, listed) {
				s.Errorf("after %s, Get of %s: got %+v, %v and error %v, and List has %+v", after, listed.Token, facts(got), ok, err, facts(listed))
			}
		}
	}
	check("the creation")
	if index, ok := s.index.(rotator); ok {
		_, err := index.Rotate(s.Context(), id, time.Hour, "wilma")
		s.must("Rotate", err)
		check("the rotation")
	}
	if index, ok := s.index.(expirer); ok {
		s.must("SetExpiry", index.SetExpiry(s.Context(), id, time.Now().Add(time.Hour)))
		check("the expiry was set")
	}
	if s.SetEnabled != nil {
		s.enable(id, false)
		check("the disabling")
	}
}

// facts returns the document without its hashes, which a list need not have.
func facts(doc indexsource.Document) indexsource.Document {
	return indexsource.Document{
		Token: doc.Token, Created: doc.Created, Creator: doc.Creator, Enabled: doc.Enabled, Expires: doc.Expires,
		Rotated: doc.Rotated, RotatedBy: doc.RotatedBy, PreviousExpires: doc.PreviousExpires,
	}
}

// sameFacts reports whether two documents say the same, of times at the same instant.
func sameFacts(a, b indexsource.Document) bool {
	a, b = facts(a), facts(b)
	for _, times := range [][2]*time.Time{
		{&a.Created, &b.Created}, {&a.Expires, &b.Expires}, {&a.Rotated, &b.Rotated}, {&a.PreviousExpires, &b.PreviousExpires},
	} {
		if times[0].Equal(*times[1]) {
			*times[0], *times[1] = time.Time{}, time.Time{}
		}
	}
	return a == b
}
