package evict_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// host has two caches over indexes of their own, as the tests need no files.
type host struct {
	group  *tokencache.Group
	caches [2]*tokencache.Cache[indexsource.Document]
	tokens []tokencache.Token
}

// newHost returns a host whose caches remember these tokens.
func newHost(t testing.TB, names ...string) *host {
	t.Helper()
	h := &host{group: tokencache.NewGroup(tokencache.GroupConfig{})}
	var indexes [2]indexsource.Memory
	for i, name := range []string{"file", "index"} {
		c, err := tokencache.New(h.group, name, indexsource.New(&indexes[i]), tokencache.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		h.caches[i] = c
	}
	hash, err := tokenhash.Parse("{SSHA256}AAECAwQFBgc=wWZbSSQlbfWMkwfCRhqHNxCEGLEUTKc/nNCOWZOfNzc=")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		id, err := tokencache.ParseTokenID(name)
		if err != nil {
			t.Fatal(err)
		}
		token, err := tokencache.NewToken(id, tokencache.NewSecret("supersecret"))
		if err != nil {
			t.Fatal(err)
		}
		h.tokens = append(h.tokens, token)
		for i := range indexes {
			indexes[i].Put(t.Context(), indexsource.Document{Token: id, Enabled: true, Hash: hash})
		}
	}
	h.warm(t)
	return h
}

func (h *host) warm(t testing.TB) {
	t.Helper()
	for _, token := range h.tokens {
		for _, c := range h.caches {
			if _, err := c.AuthenticateToken(context.Background(), token); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// entries returns how many entries each cache has.
func (h *host) entries() [2]int {
	return [2]int{h.caches[0].Stats().Entries, h.caches[1].Stats().Entries}
}

func TestLocal(t *testing.T) {
	h := newHost(t, "elastic/fleet-server/token1", "elastic/fleet-server/token2", "elastic/fleet-server/token10", "elastic/kibana/token1")
	ev := evict.New(h.group)
	for _, test := range []struct {
		names string
		want  int
	}{{"token1,token2,token1", 2}, {"token1,token2", 0}, {"nobody", 0}, {"*", 1}} {
		report, err := ev.Evict(t.Context(), "elastic", "fleet-server", test.names)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]int{"file": test.want, "index": test.want}, report.Evicted); diff != "" {
			t.Errorf("%s: evicted (-want +got):\n%s", test.names, diff)
		}
		if report.Total() != 2*test.want || report.Selector.Account() != (tokencache.Account{Namespace: "elastic", Service: "fleet-server"}) || report.Duration < 0 {
			t.Errorf("%s: got %+v", test.names, report)
		}
	}
	if got := h.entries(); got != [2]int{1, 1} {
		t.Errorf("got %v entries left, want the sibling's", got)
	}
	if _, err := ev.Evict(t.Context(), "elastic", "kibana", "token1,"); err == nil || h.entries() != [2]int{1, 1} {
		t.Errorf("a bad list: got %v with %v entries left", err, h.entries())
	}
}

// TestEvictIgnoresTheContext: a revocation must not depend on its caller's patience.
func TestEvictIgnoresTheContext(t *testing.T) {
	h := newHost(t, "elastic/fleet-server/token1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	report, err := evict.New(h.group).Evict(ctx, "elastic", "fleet-server", "*")
	if err != nil || report.Total() != 2 {
		t.Errorf("got %+v, %v", report, err)
	}
}
