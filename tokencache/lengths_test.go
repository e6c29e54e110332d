package tokencache_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// TestSecretsOfManyLengths: more than a hit tries are still found; lengths
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
		g.Clear(t.Context())
	}
	token := mustToken(t, "a/a/a", strings.Repeat("s", 100))
	g.AuthenticateToken(t.Context(), token)
	tokencache.WithMutexHeld(g, func() {
		if _, err := g.Authenticate(t.Context(), header(token)); err != nil {
			t.Error(err)
		}
	})
}

// TestTheMostCommonLengthIsFirst: a length comes before another when it is more than
// twice as common; what is not remembered any more does not count.
func TestTheMostCommonLengthIsFirst(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c, err := tokencache.New(g, "test", open{}, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := 0
	for _, step := range []struct {
		length int
		want   []int
	}{
		{10, []int{10}}, {20, []int{10, 20}}, {20, []int{10, 20}}, {20, []int{20, 10}}, {10, []int{20, 10}},
		{30, []int{20, 10, 30}}, {30, []int{20, 10, 30}}, {30, []int{20, 10, 30}}, {30, []int{20, 10, 30}}, {30, []int{30, 20, 10}},
	} {
		n++
		g.AuthenticateToken(t.Context(), mustToken(t, fmt.Sprintf("a/a/%d", n), strings.Repeat("s", step.length)))
		if got := tokencache.Lengths(g); !slices.Equal(got, step.want) {
			t.Errorf("token %d, of %d bytes: got %v, want %v", n, step.length, got, step.want)
		}
	}
	g.Clear(t.Context())
	g.AuthenticateToken(t.Context(), mustToken(t, "a/a/a", strings.Repeat("s", 40)))
	if got := tokencache.Lengths(g); !slices.Equal(got, []int{40}) {
		t.Errorf("got %v, want 40 alone", got)
	}
}
