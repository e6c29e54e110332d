package tokentest

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/svctoken/svctoken/tokencache"
)

// A listener takes a cache's place as the subscriber of a source.
type listener struct {
	id   tokencache.TokenID // whose notices count
	hear func()             // if set, called at each notice, perhaps by several goroutines at once
	told atomic.Int64       // number of notices
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

// A change is a change of a token of which the caches have to be told.
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
	for _, id := range kinds {
		l := &listener{id: id}
		defer s.subscribe(l)()
		for _, c := range s.changes(id) {
			before := l.told.Load()
			c.do()
			if l.told.Load() == before {
				s.Errorf("%s of %.60s was reported as done before its caches were told, or they were told of something else", c.name, id)
			}
		}
	}
}

// checkChangeBeforeNotice: Lookup shows the change when the caches are told of it. In the
// other order, a load in between reads the old answer, and stores it after the eviction.
func checkChangeBeforeNotice(s *subject) {
	s.tells()
	l := &listener{id: account.TokenID("token1")}
	var present atomic.Pointer[change]
	var seen atomic.Bool // at one of the notices
	l.hear = func() {
		c := present.Load() // read now: the goroutine may outlive the change
		returned := s.within(func() {
			if a, err := s.src.Lookup(s.Context(), l.id); err == nil && c != nil && c.visible(a) {
				seen.Store(true)
			}
		})
		if !returned {
			seen.Store(true) // another property checks locks
		}
	}
	defer s.subscribe(l)()
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

// checkNoLock: Lookup works while the caches are told. If a source holds a lock meanwhile
// that Lookup needs, and the cache waits for a load, both wait for ever.
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
	defer s.subscribe(l)()
	for _, c := range s.changes(l.id) {
		c.do()
		if stuck.Load() {
			s.Fatalf("Lookup did not return within %v while the caches were told of the %s: is a lock held?", s.Patience, c.name)
		}
	}
}
