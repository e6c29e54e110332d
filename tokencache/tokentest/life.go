package tokentest

import (
	"context"
	"errors"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// A rotator is an index whose tokens are rotated, as indexsource.Memory is.
type rotator interface {
	Rotate(ctx context.Context, id tokencache.TokenID, grace time.Duration, by string) (tokencache.Token, error)
}

// An expirer is an index whose tokens can expire.
type expirer interface {
	SetExpiry(ctx context.Context, id tokencache.TokenID, expires time.Time) error
}

// checkRotation: with a grace both secrets are good, and no third; without one the new
// secret alone. The document says who has rotated, and sources are told.
func checkRotation(s *indexSubject) {
	index, ok := s.index.(rotator)
	s.needs(ok, "index with a method Rotate")
	before := s.create(account.TokenID("token1"))
	id := before.ID()
	l := &listener{id: id}
	defer s.subscribe(l)()
	for _, grace := range []time.Duration{time.Hour, 0} {
		told := l.told.Load()
		began := time.Now()
		after, err := index.Rotate(s.Context(), id, grace, "wilma")
		if err != nil {
			s.Fatalf("Rotate with a grace of %v: %v", grace, err)
		}
		if !s.Untold && l.told.Load() == told {
			s.Errorf("Rotate with a grace of %v: no source was told", grace)
		}
		a := s.lookup(id)
		if !s.confirms(a, after.Secret()) {
			s.Errorf("Rotate with a grace of %v: the new secret is refused", grace)
		}
		s.checkPrevious(a, before.Secret(), began, grace)
		if third := tokencache.GenerateSecret(); s.confirms(a, third) || a.Previous.Verify != nil && a.Previous.Verify(third) {
			s.Errorf("Rotate with a grace of %v: a third secret is confirmed", grace)
		}
		if doc, _, err := s.index.Get(s.Context(), id); err != nil || doc.RotatedBy != "wilma" || doc.Rotated.Before(began.Add(-time.Second)) {
			s.Errorf("Rotate with a grace of %v: the document says by %q at %v, error %v", grace, doc.RotatedBy, doc.Rotated, err)
		}
		before = after
	}
	if _, err := index.Rotate(s.Context(), account.TokenID("nobody"), 0, "wilma"); !errors.Is(err, tokencache.ErrNotFound) {
		s.Errorf("Rotate of a token that is not there: got %v, want tokencache.ErrNotFound", err)
	}
}

// checkPrevious checks what an answer says of the secret before.
func (s *indexSubject) checkPrevious(a tokencache.Answer[any], secret tokencache.Secret, began time.Time, grace time.Duration) {
	s.Helper()
	if s.confirms(a, secret) {
		s.Errorf("Rotate with a grace of %v: Verify confirms the old secret, which is for Previous to say", grace)
	}
	good := a.Previous.Verify != nil && a.Previous.Verify(secret)
	if good != (grace > 0) {
		s.Errorf("Rotate with a grace of %v: the old secret is confirmed: %t", grace, good)
	}
	if until := a.Previous.Expires.Sub(began); good && (until < grace-time.Minute || until > grace+time.Minute) {
		s.Errorf("Rotate with a grace of %v: the old secret is good for %v", grace, until)
	}
}

// checkExpiry: an answer says when the token expires, as it was set last, and sources are
// told.
func checkExpiry(s *indexSubject) {
	index, ok := s.index.(expirer)
	s.needs(ok, "index with a method SetExpiry")
	id := s.create(account.TokenID("token1")).ID()
	l := &listener{id: id}
	defer s.subscribe(l)()
	for _, want := range []time.Time{time.Now().Add(time.Hour), time.Now().Add(-time.Hour), {}} {
		told := l.told.Load()
		if err := index.SetExpiry(s.Context(), id, want); err != nil {
			s.Fatalf("SetExpiry to %v: %v", want, err)
		}
		if !s.Untold && l.told.Load() == told {
			s.Errorf("SetExpiry to %v: no source was told", want)
		}
		if got := s.lookup(id).Expires; got.IsZero() != want.IsZero() || got.Sub(want).Abs() > time.Second {
			s.Errorf("SetExpiry to %v: the answer expires at %v", want, got)
		}
	}
	if err := index.SetExpiry(s.Context(), account.TokenID("nobody"), time.Time{}); !errors.Is(err, tokencache.ErrNotFound) {
		s.Errorf("SetExpiry of a token that is not there: got %v, want tokencache.ErrNotFound", err)
	}
}

// checkLastUse: the latest use of each token is kept, and no source is told of one.
func checkLastUse(s *indexSubject) {
	store, ok := s.index.(indexsource.UseStore)
	s.needs(ok, "index that is an indexsource.UseStore")
	id := s.create(account.TokenID("token1")).ID()
	s.create(account.TokenID("token2"))
	l := &listener{id: id}
	defer s.subscribe(l)()
	told, used := l.told.Load(), time.Now().Add(time.Hour)
	for _, at := range []time.Time{used.Add(-time.Minute), used, used.Add(-time.Second)} {
		s.must("NoteUses", store.NoteUses(s.Context(), map[tokencache.TokenID]time.Time{id: at, account.TokenID("nobody"): at}))
	}
	uses, err := store.LastUses(s.Context(), id.Account)
	s.must("LastUses", err)
	if got := uses["token1"].Sub(used).Abs(); got > time.Second {
		s.Errorf("LastUses: got %v, want token1 at %v", uses, used)
	}
	if at, ok := uses["token2"]; ok {
		s.Errorf("LastUses: token2 was used at %v, and nobody has used it", at)
	}
	if l.told.Load() != told {
		s.Error("a source was told of a use")
	}
}
