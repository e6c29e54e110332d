package tokentest

import (
	"errors"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// checkSecrets: the secret before the present one is good only as an answer's Previous,
// until its grace ends. Through a cache, both are confirmed, a third is refused, and an
// eviction takes both.
func checkSecrets(s *subject) {
	old := s.create(account.TokenID("token1"))
	s.checkAlone(old)
	renewed := s.replace(old.ID())
	s.checkAlone(renewed, old)
	if s.Rotate == nil {
		return
	}
	rotated := s.rotate(old.ID(), time.Hour)
	s.checkBoth(rotated, renewed)
	s.checkAlone(s.rotate(old.ID(), 0), rotated, renewed, old)
}

func (s *subject) rotate(id tokencache.TokenID, grace time.Duration) tokencache.Token {
	s.Helper()
	token, err := s.Rotate(s.Context(), id, grace)
	s.must("Rotate", err)
	return token
}

// checkAlone checks that the token's secret is good, and no other is.
func (s *subject) checkAlone(token tokencache.Token, others ...tokencache.Token) {
	s.Helper()
	a := s.lookup(token.ID())
	if !s.confirms(a, token.Secret()) {
		s.Errorf("the secret of %s is refused", token.ID())
	}
	for _, other := range append(others, NewToken(s, token.ID().String(), "")) {
		if s.confirms(a, other.Secret()) || confirmsPrevious(a, other.Secret()) {
			s.Errorf("%s has one secret, and another one is confirmed", token.ID())
		}
	}
}

// checkBoth checks that the secret before is good beside the present one.
func (s *subject) checkBoth(present, previous tokencache.Token) {
	s.Helper()
	a, third := s.lookup(present.ID()), NewToken(s, present.ID().String(), "")
	switch {
	case a.Verify == nil:
		s.Errorf("Lookup of %s, which was rotated: got an Answer without Verify, which Previous needs", present.ID())
	case !s.confirms(a, present.Secret()):
		s.Errorf("the new secret of %s is refused", present.ID())
	case s.confirms(a, previous.Secret()):
		s.Errorf("Verify confirms the old secret of %s, which is for Previous to say: a cache that remembers one secret refuses the other", present.ID())
	case !confirmsPrevious(a, previous.Secret()):
		s.Errorf("the old secret of %s is refused in its grace", present.ID())
	case s.confirms(a, third.Secret()) || confirmsPrevious(a, third.Secret()):
		s.Errorf("a third secret of %s is confirmed", present.ID())
	default:
		s.checkBothInCache(present, previous, third)
	}
}

func (s *subject) checkBothInCache(present, previous, third tokencache.Token) {
	s.Helper()
	cache := s.cache()
	for i := range 2 {
		for _, token := range []tokencache.Token{present, previous} {
			if v, err := cache.AuthenticateToken(s.Context(), token); err != nil || i == 1 && !v.FromMemory {
				s.Errorf("through a cache, %s has two secrets: got %v, from memory %v", token.ID(), err, v.FromMemory)
			}
		}
		if _, err := cache.AuthenticateToken(s.Context(), third); !errors.Is(err, tokencache.ErrRefused) {
			s.Errorf("through a cache, a third secret of %s: got %v, want a refusal", third.ID(), err)
		}
	}
	sel, err := present.ID().Select()
	if err != nil {
		s.Fatal(err)
	}
	if n := cache.Evict(s.Context(), tokencache.CauseAsked, sel); n != 2 {
		s.Errorf("an eviction of %s, which has two secrets, took %d entries", present.ID(), n)
	}
}

func confirmsPrevious(a tokencache.Answer[any], secret tokencache.Secret) bool {
	good := a.Previous.Expires.IsZero() || a.Previous.Expires.After(time.Now())
	return a.Held && !a.Disabled && a.Previous.Verify != nil && good && a.Previous.Verify(secret)
}
