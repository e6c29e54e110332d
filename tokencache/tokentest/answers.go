package tokentest

import (
	"strings"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// checkAbsence: the answer for a token that the source does not hold is the zero Answer
// and no error, whatever its name.
func checkAbsence(s *subject) {
	s.create(account.TokenID("token1"))
	long := strings.Repeat("a", 128)
	for _, id := range []tokencache.TokenID{
		account.TokenID("nobody"),
		account.TokenID("-1_"),
		tokencache.Account{Namespace: "nobody", Service: "nothing"}.TokenID("token1"),
		tokencache.Account{Namespace: long, Service: long}.TokenID(strings.Repeat("a", 256)),
	} {
		a, err := s.src.Lookup(s.Context(), id)
		if err != nil {
			s.Errorf("Lookup of %.60s, which is absent: got error %v, want the zero Answer and no error", id, err)
		}
		if a.Held {
			s.Errorf("Lookup of %.60s, which is absent: got Held", id)
		}
	}
}

// checkConfirmation: the source holds what was created, and confirms its secret, as
// often as it is asked.
func checkConfirmation(s *subject) {
	for _, name := range []string{"token1", "Token1", "token-2_x", strings.Repeat("n", 256)} {
		token := s.create(account.TokenID(name))
		for range 2 {
			a := s.lookup(token.ID())
			switch {
			case !a.Held:
				s.Errorf("Lookup of %.60s, which was created: got not Held", token.ID())
			case a.Disabled:
				s.Errorf("Lookup of %.60s, which was created: got Disabled", token.ID())
			case (a.Verify == nil) == (a.Ask == nil):
				s.Errorf("Lookup of %.60s: got an Answer without or with both of Verify and Ask, want one of them", token.ID())
			case !a.Expires.IsZero() && !a.Expires.After(time.Now()):
				s.Errorf("Lookup of %.60s, which was created: got an answer that expired at %v", token.ID(), a.Expires)
			case !s.confirms(a, token.Secret()):
				s.Errorf("the secret of %.60s was not confirmed", token.ID())
			}
		}
	}
}

// checkWrongSecret: no secret but the token's own is confirmed.
func checkWrongSecret(s *subject) {
	token := s.create(account.TokenID("token1"))
	neighbour := s.create(account.TokenID("token2"))
	secret := token.Secret().Reveal()
	for what, wrong := range map[string]string{
		"an empty secret":         "",
		"another token's secret":  neighbour.Secret().Reveal(),
		"a beginning":             secret[:len(secret)-1],
		"a longer secret":         secret + "x",
		"a NUL byte at the end":   secret + "\x00",
		"other upper case":        strings.ToUpper(secret),
		"a secret of 5000 bytes":  strings.Repeat(secret, 5000/len(secret)),
		"what is not even UTF-8":  "\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6",
		"the token's name":        token.ID().String(),
		"the wire form":           token.RevealBearer(),
		"one that has a % in it":  "%s%d%v%n%s%d%v",
		"one that ends a comment": "'; --\n\"]})",
	} {
		if wrong != secret && s.confirms(s.lookup(token.ID()), tokencache.NewSecret(wrong)) {
			s.Errorf("%s was confirmed for %s", what, token.ID())
		}
	}
}

// checkExactName: a token answers for its own name, and for no similar one.
func checkExactName(s *subject) {
	token := s.create(account.TokenID("token1"))
	for _, other := range []tokencache.TokenID{
		account.TokenID("token"),
		account.TokenID("token10"),
		account.TokenID("TOKEN1"),
		account.TokenID("token_"),
		tokencache.Account{Namespace: account.Namespace, Service: account.Service + "-2"}.TokenID("token1"),
		tokencache.Account{Namespace: account.Namespace, Service: strings.ToUpper(account.Service)}.TokenID("token1"),
		tokencache.Account{Namespace: account.Namespace + "2", Service: account.Service}.TokenID("token1"),
		tokencache.Account{Namespace: account.Service, Service: account.Namespace}.TokenID("token1"),
	} {
		if s.lookup(other).Held {
			s.Errorf("there is %s alone, and Lookup of %s got Held", token.ID(), other)
		}
	}
	s.create(account.TokenID("token10"))
	s.remove(account.TokenID("token10"))
	if !s.confirms(s.lookup(token.ID()), token.Secret()) {
		s.Errorf("%s is not confirmed after its neighbour was deleted", token.ID())
	}
}

// checkRemoval: a token that was deleted is absent.
func checkRemoval(s *subject) {
	token := s.create(account.TokenID("token1"))
	s.remove(token.ID())
	if s.lookup(token.ID()).Held {
		s.Errorf("Lookup of %s, which was deleted: got Held", token.ID())
	}
}

// checkReplacement: the new secret is confirmed, and the old one no longer.
func checkReplacement(s *subject) {
	old := s.create(account.TokenID("token1"))
	s.lookup(old.ID())
	replaced := s.replace(old.ID())
	if s.confirms(s.lookup(old.ID()), old.Secret()) {
		s.Errorf("the old secret of %s was confirmed after its replacement", old.ID())
	}
	if !s.confirms(s.lookup(old.ID()), replaced.Secret()) {
		s.Errorf("the new secret of %s was not confirmed", old.ID())
	}
}

// checkDisabling: a token that is disabled is refused until it is enabled again.
func checkDisabling(s *subject) {
	s.needs(s.SetEnabled != nil, "SetEnabled")
	token := s.create(account.TokenID("token1"))
	for _, enabled := range []bool{false, true} {
		s.enable(token.ID(), enabled)
		if got := s.confirms(s.lookup(token.ID()), token.Secret()); got != enabled {
			s.Errorf("%s after SetEnabled(%v): got confirmed %v", token.ID(), enabled, got)
		}
	}
}
