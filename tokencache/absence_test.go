package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// TestAbsenceIsRemembered: a name that the source does not hold costs it one read in
// AbsentTTL, whatever the secret; not so what it holds.
func TestAbsenceIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTestSource(mustToken(t, "elastic/fleet-server/held", "supersecret"))
		c := newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, tokencache.Config{})
		for i := range 10 {
			check(t, c, mustToken(t, "elastic/fleet-server/nobody", fmt.Sprintf("secret-number-%d", i)), "refused")
			check(t, c, mustToken(t, "elastic/fleet-server/held", fmt.Sprintf("secret-number-%d", i)), "refused")
		}
		nobody, held := src.loadsOf(fleet.TokenID("nobody")), src.loadsOf(fleet.TokenID("held"))
		if nobody != 1 || held != 10 || c.Stats().Absent != 9 || c.Stats().Entries != 0 {
			t.Errorf("got %d and %d reads, %+v, want 1, 10 and 9 absent", nobody, held, c.Stats())
		}
		time.Sleep(5 * time.Second)
		check(t, c, mustToken(t, "elastic/fleet-server/nobody", "supersecret"), "refused")
		if got := src.loadsOf(fleet.TokenID("nobody")); got != 2 {
			t.Errorf("got %d reads after AbsentTTL, want 2", got)
		}
	})
}

// TestAbsenceEndsWithAnyEviction: whatever selects the name ends it at once.
func TestAbsenceEndsWithAnyEviction(t *testing.T) {
	for _, e := range evictions {
		t.Run(e.name, func(t *testing.T) {
			token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
			p := newPair(t)
			check(t, p.fileCache, token, "refused")
			p.fileSrc.set(token)
			check(t, p.fileCache, token, "refused") // nobody has told
			e.evict(t, p)
			check(t, p.fileCache, token, "ok")
		})
	}
}

// TestAbsenceLoadedBeforeAnEviction: a load that has found nothing is in flight when
// the token is created; its absence is not remembered.
func TestAbsenceLoadedBeforeAnEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
		p, gate := newPair(t), newGate()
		p.fileSrc.after = gate.pass
		early := async(t.Context(), p.fileCache, token)
		synctest.Wait()
		p.fileSrc.set(token)
		p.fileCache.Evict(t.Context(), tokencache.CauseSource, named(t, fleet, "token1"))
		close(gate.open)
		if r := <-early; !errors.Is(r.err, tokencache.ErrRefused) {
			t.Errorf("before the creation: got %+v", r)
		}
		check(t, p.fileCache, token, "ok")
	})
}

// TestAbsencesAreBounded: names that nobody holds displace one another, no token.
func TestAbsencesAreBounded(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	src := newTestSource(token)
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c := newCache(t, g, "test", src, tokencache.Config{MaxEntries: 1})
	check(t, c, token, "ok")
	for i := range 10_100 {
		check(t, c, mustToken(t, fmt.Sprintf("nobody/s%d/t", i%200), fmt.Sprintf("supersecret-%d", i/200)), "refused")
		check(t, c, mustToken(t, fmt.Sprintf("nobody/s%d/t%d", i%200, i), "supersecret"), "refused")
	}
	if got := tokencache.Linked(g); got != 10_000+1 {
		t.Errorf("%d entries are linked, want 10 000 absences and the token", got)
	}
	if v, err := c.AuthenticateToken(t.Context(), token); err != nil || !v.FromMemory {
		t.Errorf("the token: got %+v, %v, want it remembered", v, err)
	}
	c.Clear(t.Context(), tokencache.CauseAsked)
	if got := tokencache.Linked(g); got != 0 {
		t.Errorf("%d entries are left after a clearing", got)
	}
}

// TestWrongSecretInAGroup: in a group of two caches a wrong secret for a cached token
// costs the other source one read in AbsentTTL, and none while that source is down.
func TestWrongSecretInAGroup(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	p := newPair(t)
	p.fileSrc.set(token)
	if _, err := p.group.AuthenticateToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	authenticate := func() error {
		_, err := p.group.Authenticate(t.Context(), header(mustToken(t, "elastic/fleet-server/token1", "wrong-secret")))
		return err
	}
	for range 5 {
		err := authenticate()
		if refused, ok := errors.AsType[*tokencache.RefusedError](err); !ok || refused.Reason != tokencache.ReasonWrongSecret || refused.Token != token.ID() {
			t.Errorf("got %v, want a wrong secret", err)
		}
		p.indexSrc.before = func(context.Context, tokencache.TokenID) error { return errors.New("outage") }
	}
	if got := p.indexSrc.loadsOf(token.ID()); got != 1 {
		t.Errorf("the other source was read %d times, want once", got)
	}
}

// TestSecondCacheHits: what the second cache remembers needs no answer of the first
// source, which is down.
func TestSecondCacheHits(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	p := newPair(t)
	p.indexSrc.set(token)
	for i := range 3 {
		v, err := p.group.Authenticate(t.Context(), header(token))
		if err != nil || v.Cache != "index" || v.FromMemory != (i > 0) {
			t.Errorf("got %+v, %v, want it from the index", v, err)
		}
		p.group.Evict(t.Context(), tokencache.CauseAsked, named(t, fleet, "another"))
		p.fileCache.Clear(t.Context(), tokencache.CauseSource)
		p.fileSrc.before = func(context.Context, tokencache.TokenID) error { return errors.New("outage") }
	}
	if got := p.fileSrc.loadsOf(token.ID()); got != 1 {
		t.Errorf("the first source was read %d times, want once", got)
	}
}
