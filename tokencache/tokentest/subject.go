package tokentest

import (
	"cmp"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// account has most of the tokens that the properties create.
var account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

// kinds are ids of all kinds: of several accounts, in upper and lower case, and of the
// greatest length.
var kinds = []tokencache.TokenID{
	account.TokenID("token1"),
	account.TokenID("Token-2_X"),
	account.TokenID(strings.Repeat("n", 256)),
	tokencache.Account{Namespace: account.Namespace, Service: account.Service + "-2"}.TokenID("token1"),
	tokencache.Account{Namespace: "Acme", Service: "Billing_2"}.TokenID("token1"),
}

const patience = 10 * time.Second

// A subject is an implementation under test. Its methods end the test if the backend
// fails.
type subject struct {
	testing.TB
	Backend
	src tokencache.Source[any]
}

// newSubject completes a backend.
func newSubject(t testing.TB, src tokencache.Source[any], b Backend) *subject {
	t.Helper()
	b.Patience = cmp.Or(b.Patience, patience)
	if b.Create == nil || b.Delete == nil {
		t.Fatal("tokentest: Backend.Create and Backend.Delete are required")
	}
	return &subject{TB: t, Backend: b, src: src}
}

// An erased source is one whose record's type does not matter.
type erased[R any] struct{ tokencache.Source[R] }

func (e erased[R]) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[any], error) {
	a, err := e.Source.Lookup(ctx, id)
	return tokencache.Answer[any]{
		Held: a.Held, Disabled: a.Disabled, Record: a.Record, Expires: a.Expires, Verify: a.Verify, Ask: a.Ask, Fast: a.Fast, Previous: a.Previous,
	}, err
}

// A holdingSource is an erased source that is a tokencache.Holder, too.
type holdingSource struct {
	tokencache.Source[any]
	tokencache.Holder
}

// erase returns the source without the type of its record. It stays a Holder if it
// is one.
func erase[R any](src tokencache.Source[R]) tokencache.Source[any] {
	if h, ok := src.(tokencache.Holder); ok {
		return holdingSource{erased[R]{src}, h}
	}
	return erased[R]{src}
}

// needs skips a property if the backend lacks what it needs.
func (s *subject) needs(has bool, field string) {
	s.Helper()
	if !has {
		s.Skipf("the backend has no %s", field)
	}
}

func (s *subject) tells() {
	s.Helper()
	if s.Untold {
		s.Skip("the source does not hear of its changes")
	}
}

func (s *subject) must(what string, err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("the backend's %s: %v", what, err)
	}
}

func (s *subject) create(id tokencache.TokenID) tokencache.Token {
	s.Helper()
	token, err := s.Create(s.Context(), id)
	s.must("Create", err)
	if token.ID() != id {
		s.Fatalf("the backend's Create: got a token of %s, want %s", token.ID(), id)
	}
	return token
}

func (s *subject) remove(id tokencache.TokenID) {
	s.Helper()
	s.must("Delete", s.Delete(s.Context(), id))
}

func (s *subject) replace(id tokencache.TokenID) tokencache.Token {
	s.Helper()
	if s.Replace == nil {
		s.remove(id)
		return s.create(id)
	}
	token, err := s.Replace(s.Context(), id)
	s.must("Replace", err)
	return token
}

func (s *subject) enable(id tokencache.TokenID, enabled bool) {
	s.Helper()
	s.must("SetEnabled", s.SetEnabled(s.Context(), id, enabled))
}

// lookup returns an answer, which must be one.
func (s *subject) lookup(id tokencache.TokenID) tokencache.Answer[any] {
	s.Helper()
	a, err := s.src.Lookup(s.Context(), id)
	if err != nil {
		s.Fatalf("Lookup of %s: got error %v, want an answer", id, err)
	}
	return a
}

// confirms reports whether an answer confirms a secret.
func (s *subject) confirms(a tokencache.Answer[any], secret tokencache.Secret) bool {
	s.Helper()
	switch {
	case !a.Held || a.Disabled:
		return false
	case a.Verify != nil:
		return a.Verify(secret)
	case a.Ask != nil:
		ok, err := a.Ask(s.Context(), secret)
		if err != nil {
			s.Errorf("Ask: got error %v, want an answer", err)
		}
		return ok
	default:
		return false
	}
}

// within runs f in a goroutine of its own, and reports whether it returned within
// the backend's patience.
func (s *subject) within(f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	late := time.NewTimer(s.Patience)
	defer late.Stop()
	select {
	case <-done:
		return true
	case <-late.C:
		return false
	}
}

// mayHold returns MayHold's result; a source that is not a Holder may hold every token.
func (s *subject) mayHold(id tokencache.TokenID) bool {
	h, ok := s.src.(tokencache.Holder)
	return !ok || h.MayHold(id)
}

// subscribe subscribes a listener, and returns the function that ends it.
func (s *subject) subscribe(l *listener) (end func()) {
	s.Helper()
	cancel := s.src.Subscribe(l)
	if cancel == nil {
		s.Fatal("Subscribe: got nil, want a function that ends the subscription")
	}
	return func() {
		s.Helper()
		defer func() {
			if v := recover(); v != nil {
				s.Fatalf("the end of a subscription panicked with a %T", v)
			}
		}()
		cancel()
	}
}

// cache returns a cache of the source, which the test closes.
func (s *subject) cache() *tokencache.Cache[any] {
	s.Helper()
	s.subscribe(new(listener))() // fails the test if a cache could not end its subscription
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	s.Cleanup(func() { closeGroup(s, group) })
	cache, err := tokencache.New(group, "subject", s.src, tokencache.Config{})
	if err != nil {
		s.Fatal(err)
	}
	return cache
}
