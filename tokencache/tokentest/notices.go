package tokentest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/svctoken/svctoken/tokencache"
)

// A listener takes a cache's place as the subscriber of a source.
type listener struct {
	id   tokencache.TokenID // whose notices count
	hear func()             // is called at each of them, where set; perhaps by several goroutines
	told atomic.Int64       // how many there were
}

var _ tokencache.Invalidator = (*listener)(nil)

func (l *listener) Evict(_ context.Context, _ tokencache.Cause, sels ...tokencache.Selector) int {
	if slices.ContainsFunc(sels, func(sel tokencache.Selector) bool { return sel.Selects(l.id) }) {
		l.Clear(context.Background(), tokencache.CauseSource)
	}
	return 0
}

func (l *listener) Clear(context.Context, tokencache.Cause) int {
	l.told.Add(1)
	if l.hear != nil {
		l.hear()
	}
	return 0
}

// A change is one that the caches have to be told of.
type change struct {
	name    string
	do      func()
	visible func(tokencache.Answer[any]) bool // whether an answer shows that it has happened
}

// changes returns the changes of a token in an order in which they can be made.
func (s *subject) changes(id tokencache.TokenID) []change {
	var token tokencache.Token
	list := []change{
		{"creation", func() { token = s.create(id) }, func(a tokencache.Answer[any]) bool { return a.Held }},
		{"replacement", func() { s.replace(id) }, func(a tokencache.Answer[any]) bool { return a.Held && !s.confirms(a, token.Secret()) }},
	}
	if s.SetEnabled != nil {
		list = append(list,
			change{"disabling", func() { s.enable(id, false) }, func(a tokencache.Answer[any]) bool { return !a.Held || a.Disabled }},
			change{"enabling", func() { s.enable(id, true) }, func(a tokencache.Answer[any]) bool { return a.Held && !a.Disabled }})
	}
	return append(list, change{"deletion", func() { s.remove(id) }, func(a tokencache.Answer[any]) bool { return !a.Held }})
}

// checkNotice: the caches have been told of each change, and of the token that it
// concerns, before it is reported as done.
func checkNotice(s *subject) {
	s.tells()
	l := &listener{id: account.TokenID("token1")}
	defer s.src.Subscribe(l)()
	for _, c := range s.changes(l.id) {
		before := l.told.Load()
		c.do()
		if l.told.Load() == before {
			s.Errorf("%s of %s was reported as done before its caches were told, or they were told of something else", c.name, l.id)
		}
	}
}

// checkChangeBeforeNotice: Lookup shows the change when the caches are told of it.
// The other way round, a load in between reads the old answer, and stores it after
// the eviction.
func checkChangeBeforeNotice(s *subject) {
	s.tells()
	l := &listener{id: account.TokenID("token1")}
	var present atomic.Pointer[change]
	var seen atomic.Bool // at one of the notices
	l.hear = func() {
		c := present.Load() // by now: the goroutine may outlive the change
		returned := s.within(func() {
			if a, err := s.src.Lookup(s.Context(), l.id); err == nil && c != nil && c.visible(a) {
				seen.Store(true)
			}
		})
		if !returned {
			seen.Store(true) // a lock is another property's business
		}
	}
	defer s.src.Subscribe(l)()
	for _, c := range s.changes(l.id) {
		present.Store(&c)
		seen.Store(false)
		before := l.told.Load()
		c.do()
		if l.told.Load() > before && !seen.Load() {
			s.Errorf("when the caches were told of the %s of %s, Lookup still gave the answer from before", c.name, l.id)
		}
	}
}

// checkNoLock: a cache that is told can look up. A source that holds a lock meanwhile
// which Lookup needs waits for ever, if the cache waits for a load.
func checkNoLock(s *subject) {
	s.tells()
	l := &listener{id: account.TokenID("token1")}
	var stuck atomic.Bool
	l.hear = func() {
		if !stuck.Load() && !s.within(func() {
			s.mayHold(l.id)
			s.src.Lookup(s.Context(), l.id)
		}) {
			stuck.Store(true)
		}
	}
	defer s.src.Subscribe(l)()
	for _, c := range s.changes(l.id) {
		c.do()
		if stuck.Load() {
			s.Fatalf("Lookup did not return within %v while the caches were told of the %s: is a lock held?", s.Patience, c.name)
		}
	}
}

// checkEverySubscriber: each cache is told, also when there are several.
func checkEverySubscriber(s *subject) {
	s.tells()
	all := make([]*listener, 3)
	for i := range all {
		all[i] = &listener{id: account.TokenID("token1")}
		defer s.src.Subscribe(all[i])()
	}
	s.create(all[0].id)
	told := 0
	for _, l := range all {
		if l.told.Load() > 0 {
			told++
		}
	}
	if told > 0 && told < len(all) {
		s.Errorf("of %d subscribers, %d were told of a creation", len(all), told)
	}
}

// checkEndOfSubscription: who has ended the subscription is told nothing; the others
// are, and so is who subscribes afterwards. Ending twice does nothing.
func checkEndOfSubscription(s *subject) {
	s.tells()
	first := &listener{id: account.TokenID("token1")}
	second := &listener{id: first.id}
	end := s.src.Subscribe(first)
	defer s.src.Subscribe(second)()
	s.create(first.id)
	before, others := first.told.Load(), second.told.Load()
	end()
	end()
	s.remove(first.id)
	if first.told.Load() != before {
		s.Error("a subscriber was told of a change after the end of its subscription")
	}
	if others > 0 && second.told.Load() == others {
		s.Error("when one subscription had ended, another subscriber was told nothing")
	}
	defer s.src.Subscribe(first)()
	s.create(first.id)
	if before > 0 && first.told.Load() == before {
		s.Error("a subscriber that ended its subscription and subscribed again was told nothing")
	}
}

// checkFreshness: what a cache says right after a change is what is true, while
// others authenticate all the time.
func checkFreshness(s *subject) {
	s.tells()
	const rounds = 5
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	cache, err := tokencache.New(group, "subject", s.src, tokencache.Config{})
	if err != nil {
		s.Fatal(err)
	}
	expect := func(token tokencache.Token, ok bool, when string) {
		s.Helper()
		_, err := cache.AuthenticateToken(s.Context(), token)
		if got := err == nil; got != ok || err != nil && !errors.Is(err, tokencache.ErrRefused) {
			s.Errorf("through a cache, %s: got %v, want confirmed %v", when, err, ok)
		}
	}
	id := account.TokenID("token1")
	for range rounds {
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
