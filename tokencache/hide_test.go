package tokencache_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

// A countingSource counts its reads and hashes; a hash takes a second. It holds
// disabled and expired tokens too.
type countingSource struct {
	*testSource
	reads, hashes atomic.Int64
}

func (s *countingSource) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	s.reads.Add(1)
	a, err := s.testSource.Lookup(ctx, id)
	a.Disabled = id.Name == "disabled"
	if id.Name == "expired" {
		a.Expires = time.Unix(1, 0)
	}
	if verify := a.Verify; verify != nil {
		a.Verify = func(secret tokencache.Secret) bool {
			s.hashes.Add(1)
			time.Sleep(time.Second)
			return verify(secret)
		}
	}
	return a, err
}

// TestHideNames: every refusal of a well-formed token takes one read of the source and
// one hash, within the turns, whatever the source holds; and without the option, what
// it takes tells one from the other.
func TestHideNames(t *testing.T) {
	type cost struct{ Reads, Hashes int64 }
	names := []string{"remembered", "held", "unknown", "unknown again", "disabled", "expired"}
	for hide, want := range map[bool][]cost{
		true:  {{1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}},
		false: {{0, 0}, {1, 1}, {1, 0}, {0, 0}, {1, 0}, {1, 0}},
	} {
		t.Run(fmt.Sprint(hide), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &countingSource{testSource: newTestSource()}
				for _, name := range []string{"remembered", "held", "disabled", "expired"} {
					src.set(mustToken(t, "a/a/"+name, "supersecret"))
				}
				g := tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1})
				c := newCache(t, g, "test", src, tokencache.Config{HideNames: hide})
				check(t, c, mustToken(t, "a/a/remembered", "supersecret"), "ok")
				var got []cost
				for _, name := range names {
					reads, hashes := src.reads.Load(), src.hashes.Load()
					if name == "unknown again" {
						name = "unknown"
					}
					check(t, c, mustToken(t, "a/a/"+name, "wrong-secret"), "refused")
					got = append(got, cost{src.reads.Load() - reads, src.hashes.Load() - hashes})
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("what refusals of %v take (-want +got):\n%s", names, diff)
				}
				if v, err := c.AuthenticateToken(t.Context(), mustToken(t, "a/a/remembered", "supersecret")); err != nil || !v.FromMemory {
					t.Errorf("got %+v, %v, want it remembered all the while", v, err)
				}
				if !hide {
					return
				}
				for i := range 4 {
					async(t.Context(), c, mustToken(t, fmt.Sprintf("a/a/unknown%d", i), "supersecret"))
				}
				synctest.Wait()
				if got := g.Stats(); got.Hashing != 1 || got.Waiting != 3 {
					t.Errorf("got %+v, want the hashes of unknown names in turns", got)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}
