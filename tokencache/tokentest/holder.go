package tokentest

import (
	"sync"
	"sync/atomic"

	"github.com/svctoken/svctoken/tokencache"
)

// checkHolder: MayHold never denies a token which Lookup would find: not at the moment
// of the notice, and not while other tokens change.
func checkHolder(s *subject) {
	if _, ok := s.src.(tokencache.Holder); !ok {
		s.Skip("the source is no tokencache.Holder")
	}
	const changes = 10
	id, steady := kinds[0], []tokencache.TokenID{account.TokenID("steady"), kinds[len(kinds)-1]}
	for _, id := range steady {
		s.create(id)
	}
	l := &listener{id: id}
	var denied atomic.Pointer[tokencache.TokenID]
	check := func(ids ...tokencache.TokenID) {
		for _, id := range ids {
			if !s.mayHold(id) {
				denied.Store(&id)
			}
		}
	}
	var creating atomic.Bool
	l.hear = func() {
		s.within(func() { // another property checks locks
			check(steady...)
			if creating.Load() {
				check(id)
			}
		})
	}
	defer s.subscribe(l)()
	stop := constantly(func() { check(steady...) })
	for range changes {
		creating.Store(true)
		s.create(id)
		check(id)
		creating.Store(false)
		s.remove(id)
	}
	stop()
	if id := denied.Load(); id != nil {
		s.Errorf("MayHold denied %s, which was created", id)
	}
}

// constantly calls f again and again, until the function that it returns is called.
func constantly(f func()) (stop func()) {
	var stopped atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stopped.Load() {
			f()
		}
	})
	return func() { stopped.Store(true); wg.Wait() }
}
