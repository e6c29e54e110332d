package tokentest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/svctoken/svctoken/tokencache"
)

// checkMemory: a cache confirms what was created, and the second time from memory.
func checkMemory(s *subject) {
	token := s.create(kinds[0])
	cache := s.cache()
	for i := range 2 {
		v, err := cache.AuthenticateToken(s.Context(), token)
		switch {
		case err != nil:
			s.Errorf("through a cache, %s, which was created: got error %v, want a verdict", token.ID(), err)
		case i == 1 && !v.FromMemory:
			s.Errorf("through a cache, %s for the second time: got a verdict that is not from memory", token.ID())
		}
	}
}

// checkFreshness: right after a change, a cache answers what is true, while others
// authenticate all the time.
func checkFreshness(s *subject) {
	s.tells()
	cache := s.cache()
	expect := func(token tokencache.Token, ok bool, when string) {
		s.Helper()
		_, err := cache.AuthenticateToken(s.Context(), token)
		if got := err == nil; got != ok || err != nil && !errors.Is(err, tokencache.ErrRefused) {
			s.Errorf("through a cache, %.60s, %s: got %v, want confirmed %v", token.ID(), when, err, ok)
		}
	}
	for _, id := range slices.Concat(kinds, kinds) { // twice: what was refused is created anew
		token := s.create(id)
		stop := hammer(s.Context(), cache, token)
		expect(token, true, "after a creation")
		replaced := s.replace(id)
		expect(token, false, "the old secret after a replacement")
		expect(replaced, true, "the new secret after a replacement")
		s.remove(id)
		expect(replaced, false, "after a deletion")
		stop()
	}
}

// hammer authenticates all the time, until the function that it returns is called.
func hammer(ctx context.Context, cache *tokencache.Cache[any], token tokencache.Token) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				cache.AuthenticateToken(ctx, token)
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// checkConcurrency: Lookup and Verify answer right while others look up and change.
func checkConcurrency(s *subject) {
	const lookers, lookups, changes = 8, 25, 10
	steady := []tokencache.Token{s.create(account.TokenID("steady1")), s.create(account.TokenID("steady2"))}
	wrong := make(chan string, 3*lookers*lookups)
	var wg sync.WaitGroup
	for i := range lookers {
		wg.Go(func() {
			token, other := steady[i/2%2], steady[1-i/2%2]
			for n := range lookups {
				switch {
				case i%2 == 1:
					s.absentAmongOthers(account.TokenID(fmt.Sprintf("absent%d", i)), wrong)
				case n%5 == 0: // hashing may be slow
					s.verifiedAmongOthers(token, other.Secret(), wrong)
				default:
					s.heldAmongOthers(token, wrong)
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

func (s *subject) absentAmongOthers(id tokencache.TokenID, wrong chan<- string) {
	if a, err := s.src.Lookup(s.Context(), id); err != nil || a.Held {
		wrong <- fmt.Sprintf("Lookup of %s, while others look up and change: got Held %v and error %v, want Held false", id, a.Held, err)
	}
}

func (s *subject) heldAmongOthers(token tokencache.Token, wrong chan<- string) tokencache.Answer[any] {
	a, err := s.src.Lookup(s.Context(), token.ID())
	if err != nil || !a.Held {
		wrong <- fmt.Sprintf("Lookup of %s, while others look up and change: got Held %v and error %v, want Held true", token.ID(), a.Held, err)
	}
	return a
}

func (s *subject) verifiedAmongOthers(token tokencache.Token, other tokencache.Secret, wrong chan<- string) {
	a := s.heldAmongOthers(token, wrong)
	if a.Held && a.Verify != nil && (!a.Verify(token.Secret()) || a.Verify(other)) {
		wrong <- fmt.Sprintf("%s, while others are verified: its secret was denied, or another's confirmed", token.ID())
	}
}
