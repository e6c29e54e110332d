package tokentest

import (
	"fmt"
	"testing"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
)

// A Kit is a group for a test, with its caches and an evictor. [New] makes one.
type Kit[R any] struct {
	Group   *tokencache.Group
	Caches  []*tokencache.Cache[R] // one for each source, in the same order
	Evictor evict.Evictor
	Events  *Recorder // what the group's observer is told
}

// New returns a group with a cache for each of the sources, named source1, source2
// and so on, which the test closes at its end. Tests of a single cache find it in
// Caches[0].
//
// In cfg, a zero Jitter means none, unlike in production, so that a success is
// remembered for exactly its TTL; see tokencache.Config.
func New[R any](t testing.TB, cfg tokencache.Config, sources ...tokencache.Source[R]) *Kit[R] {
	t.Helper()
	events := new(Recorder)
	k := &Kit[R]{Group: tokencache.NewGroup(tokencache.GroupConfig{Observer: events.Observe}), Events: events}
	t.Cleanup(k.Group.Close)
	if cfg.Jitter == 0 {
		cfg.Jitter = -1
	}
	for i, src := range sources {
		cache, err := tokencache.New(k.Group, fmt.Sprintf("source%d", i+1), src, cfg)
		if err != nil {
			t.Fatal(err)
		}
		k.Caches = append(k.Caches, cache)
	}
	k.Evictor = evict.New(k.Group)
	return k
}
