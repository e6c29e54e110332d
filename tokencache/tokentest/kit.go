package tokentest

import (
	"context"
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
	Events  *Recorder // the events that the group's observer receives
}

// New returns a group with a cache for each of the sources, named source1, source2
// and so on. Tests of a single cache find it in Caches[0]. When the test ends, New
// closes the group and waits for what still runs: for at most 10 seconds, after which
// the test fails, because a Lookup has not returned although its context is done.
//
// In cfg, a zero Jitter means none, unlike in production, so that a success is
// remembered for exactly its TTL; see tokencache.Config.
func New[R any](t testing.TB, cfg tokencache.Config, sources ...tokencache.Source[R]) *Kit[R] {
	t.Helper()
	events := new(Recorder)
	k := &Kit[R]{Group: tokencache.NewGroup(tokencache.GroupConfig{Observer: events.Observe}), Events: events}
	t.Cleanup(func() { closeGroup(t, k.Group) })
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

// closeGroup closes a group and waits until nothing runs any more. It works in a
// bubble, which must not end before its goroutines do, and after t.Context is done.
func closeGroup(t testing.TB, group *tokencache.Group) {
	t.Helper()
	group.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := group.Wait(ctx); err != nil {
		t.Errorf("tokentest: %v after Close, a source has not returned though its context is done: %v", patience, err)
	}
}
