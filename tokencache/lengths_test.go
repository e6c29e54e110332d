package tokencache_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// TestSecretsOfManyLengths: more than a hit tries are found all the same; lengths
// that are not in use any more make room for others.
func TestSecretsOfManyLengths(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c, err := tokencache.New(g, "test", open{}, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 2 {
		for i := range 12 {
			token := mustToken(t, fmt.Sprintf("a/a/%d", i), strings.Repeat("s", 10+i))
			for k := range 3 {
				if v, err := g.Authenticate(t.Context(), header(token)); err != nil || v.FromMemory != (k > 0) {
					t.Errorf("%d bytes: got %+v, %v", 10+i, v, err)
				}
			}
		}
		g.Clear(t.Context(), tokencache.CauseAsked)
	}
	token := mustToken(t, "a/a/a", strings.Repeat("s", 100))
	g.AuthenticateToken(t.Context(), token)
	tokencache.WithMutexHeld(g, func() {
		if _, err := g.Authenticate(t.Context(), header(token)); err != nil {
			t.Error(err)
		}
	})
}
