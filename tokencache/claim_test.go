package tokencache_test

import (
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// TestOneClaim: a group has one claim at a time, and its second end does not end another.
func TestOneClaim(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	c := newCache(t, g, "test", newTestSource(token), tokencache.Config{})
	first := claim(t, g)
	if second, err := g.Claim(); err == nil || second != nil {
		t.Errorf("a second claim: got %v, %v", second, err)
	}
	first.Release()
	second := claim(t, g)
	first.Release()
	if third, err := g.Claim(); err == nil || third != nil {
		t.Errorf("a third claim: got %v, %v", third, err)
	}
	check(t, c, token, "ok")
	if got := second.Evict(t.Context(), all(t, fleet)); got["test"] != 1 {
		t.Errorf("got %v evicted, want 1", got)
	}
	check(t, c, token, "ok")
	if got := second.Clear(t.Context()); got["test"] != 1 {
		t.Errorf("got %v cleared, want 1", got)
	}
}
