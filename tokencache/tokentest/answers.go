package tokentest

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/svctoken/svctoken/tokencache"
)

// checkAbsence: what the source does not hold is the zero Answer and no error,
// whatever its name.
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

// checkExactName: a token answers for its own name, and for no other that is like it.
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

// checkRecords: a record is shared by everyone who authenticates with the token, so
// that no later change may write to it.
func checkRecords(s *subject) {
	token := s.create(account.TokenID("token1"))
	a := s.lookup(token.ID())
	before := fmt.Sprintf("%+v %s", a.Record, asJSON(a.Record))
	s.replace(token.ID())
	if s.SetEnabled != nil {
		s.enable(token.ID(), false)
	}
	s.lookup(token.ID())
	s.remove(token.ID())
	if after := fmt.Sprintf("%+v %s", a.Record, asJSON(a.Record)); after != before {
		s.Errorf("the record of an earlier answer was changed: got %s, want %s", after, before)
	}
}

// checkHolder: MayHold never denies a token which Lookup would find, not even at the
// moment of the notice.
func checkHolder(s *subject) {
	if _, ok := s.src.(tokencache.Holder); !ok {
		s.Skip("the source is no tokencache.Holder")
	}
	id := account.TokenID("token1")
	l := &listener{id: id}
	var denied atomic.Bool
	l.hear = func() {
		s.within(func() { denied.Store(!s.mayHold(id)) }) // a lock is another property's business
	}
	defer s.src.Subscribe(l)()
	s.create(id)
	if denied.Load() {
		s.Errorf("MayHold of %s denied it when the caches were told of its creation", id)
	}
	if !s.mayHold(id) {
		s.Errorf("MayHold denied %s, which was created", id)
	}
}

// checkConcurrency: Lookup answers right while others look up and change.
func checkConcurrency(s *subject) {
	const lookers, lookups, changes = 8, 25, 10
	steady := s.create(account.TokenID("steady"))
	wrong := make(chan string, lookers*lookups)
	var wg sync.WaitGroup
	for i := range lookers {
		wg.Go(func() {
			id, want := steady.ID(), true
			if i%2 == 1 {
				id, want = account.TokenID(fmt.Sprintf("absent%d", i)), false
			}
			for range lookups {
				if a, err := s.src.Lookup(s.Context(), id); err != nil || a.Held != want {
					wrong <- fmt.Sprintf("Lookup of %s, while others look up and change: got Held %v and error %v, want Held %v", id, a.Held, err, want)
				}
			}
		})
	}
	for i := range changes {
		id := account.TokenID(fmt.Sprintf("changing%d", i%2))
		s.create(id)
		s.remove(id)
	}
	wg.Wait()
	close(wrong)
	if text, ok := <-wrong; ok {
		s.Error(text)
	}
}
