package indexsource_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

var fleet = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

func newCache(t testing.TB, index indexsource.Index) (*indexsource.Source, *tokencache.Cache[indexsource.Document]) {
	t.Helper()
	source := indexsource.New(index)
	cache, err := tokencache.New(tokencache.NewGroup(tokencache.GroupConfig{}), "index", source, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cache.Close)
	return source, cache
}

func outcome(t testing.TB, cache *tokencache.Cache[indexsource.Document], token tokencache.Token) string {
	t.Helper()
	_, err := cache.AuthenticateToken(t.Context(), token)
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, tokencache.ErrRefused):
		return "refused"
	default:
		return err.Error()
	}
}

func create(t testing.TB, index *indexsource.Memory, name string) tokencache.Token {
	t.Helper()
	token, err := index.Create(t.Context(), fleet.TokenID(name), "operator")
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestMemory(t *testing.T) {
	var index indexsource.Memory
	_, cache := newCache(t, &index)
	a, b := create(t, &index, "a"), create(t, &index, "b")
	v, err := cache.AuthenticateToken(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if doc := v.Record; doc.Token != a.ID() || doc.Creator != "operator" || !doc.Enabled || doc.Created.IsZero() || doc.Hash.Reveal() != "" {
		t.Errorf("got %+v, want the document without its hash", doc)
	}
	if got := outcome(t, cache, b); got != "ok" {
		t.Errorf("b: got %s", got)
	}

	if _, err := index.Create(t.Context(), a.ID(), "other"); !errors.Is(err, tokencache.ErrExists) || err.Error() != "tokencache: token exists: elastic/fleet-server/a" {
		t.Errorf("a second Create: got %v", err)
	}
	if _, err := index.Create(t.Context(), fleet.TokenID("_x"), ""); err == nil {
		t.Error("an invalid name was created")
	}
	if err := index.Put(t.Context(), indexsource.Document{}); err == nil {
		t.Error("a document without a token was put")
	}
	var names []string
	docs, _ := index.List(t.Context(), fleet)
	for _, doc := range docs {
		names = append(names, doc.Token.Name)
	}
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	if got, err := index.List(t.Context(), tokencache.Account{Namespace: "elastic", Service: "other"}); len(got) > 0 || err != nil {
		t.Errorf("List of another account: got %v", got)
	}
	nobody := fleet.TokenID("nobody")
	_, rotateErr := index.Rotate(t.Context(), nobody, 0, "me")
	for _, err := range []error{index.Delete(t.Context(), nobody), index.SetEnabled(t.Context(), nobody, true), index.SetExpiry(t.Context(), nobody, time.Now()), rotateErr} {
		if !errors.Is(err, tokencache.ErrNotFound) || !strings.HasSuffix(err.Error(), ": elastic/fleet-server/nobody") {
			t.Errorf("a change of an unknown token: got %v", err)
		}
	}
}

// TestDocumentChanges: each change of a document has reached the cache when it returns,
// and leaves the neighbour cached.
func TestDocumentChanges(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(index *indexsource.Memory, token tokencache.Token)
		want   string
	}{
		{"delete", func(index *indexsource.Memory, token tokencache.Token) { index.Delete(t.Context(), token.ID()) }, "refused"},
		{"disable", func(index *indexsource.Memory, token tokencache.Token) {
			index.SetEnabled(t.Context(), token.ID(), false)
		}, "refused"},
		{"disable and enable", func(index *indexsource.Memory, token tokencache.Token) {
			index.SetEnabled(t.Context(), token.ID(), false)
			index.SetEnabled(t.Context(), token.ID(), true)
		}, "ok"},
		{"replace", func(index *indexsource.Memory, token tokencache.Token) {
			index.Put(t.Context(), indexsource.Document{Token: token.ID(), Enabled: true, Hash: tokenhash.New(tokencache.NewSecret("another-secret"))})
		}, "refused"},
		{"replace without a hash", func(index *indexsource.Memory, token tokencache.Token) {
			index.Put(t.Context(), indexsource.Document{Token: token.ID(), Enabled: true})
		}, "refused"},
		{"delete and create again", func(index *indexsource.Memory, token tokencache.Token) {
			index.Delete(t.Context(), token.ID())
			index.Create(t.Context(), token.ID(), "")
		}, "refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var index indexsource.Memory
			_, cache := newCache(t, &index)
			token, neighbour := create(t, &index, "token1"), create(t, &index, "token10")
			outcome(t, cache, token)
			outcome(t, cache, neighbour)
			test.change(&index, token)
			if got := outcome(t, cache, token); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if outcome(t, cache, neighbour); cache.Stats().Hits != 1 {
				t.Errorf("got %+v, want the neighbour still cached", cache.Stats())
			}
		})
	}
}

// TestCreateEvicts: a load that has found nothing is in flight when the token is
// created; a caller that comes afterwards must not join it.
func TestCreateEvicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gated := &gatedIndex{gate: make(chan struct{})}
		_, cache := newCache(t, gated)
		secret := tokencache.NewSecret("supersecret")
		token, err := tokencache.NewToken(fleet.TokenID("new"), secret)
		if err != nil {
			t.Fatal(err)
		}
		early := make(chan string)
		go func() { early <- outcome(t, cache, token) }()
		synctest.Wait()
		gated.Put(t.Context(), indexsource.Document{Token: token.ID(), Enabled: true, Hash: tokenhash.New(secret)})
		later := make(chan string)
		go func() { later <- outcome(t, cache, token) }()
		synctest.Wait()
		close(gated.gate)
		if got := <-early; got != "refused" && got != "ok" { // it came before, and may have either answer
			t.Errorf("before the creation: got %s", got)
		}
		if got := <-later; got != "ok" {
			t.Errorf("after the creation: got %s", got)
		}
	})
}

// A gatedIndex reads at once and answers when its gate is open.
type gatedIndex struct {
	indexsource.Memory
	gate chan struct{}
}

func (g *gatedIndex) Get(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	doc, ok, err := g.Memory.Get(ctx, id)
	<-g.gate
	return doc, ok, err
}

func TestStateClears(t *testing.T) {
	const x, y = "x", "y"
	for _, test := range []struct {
		name       string
		last, next indexsource.State
		want       bool
	}{
		{"nothing", indexsource.State{}, indexsource.State{}, false},
		{"created green", indexsource.State{}, indexsource.State{indexsource.HealthGreen, x, true}, true},
		{"none to yellow", indexsource.State{indexsource.HealthNone, x, true}, indexsource.State{indexsource.HealthYellow, x, true}, true},
		{"none to red", indexsource.State{indexsource.HealthNone, x, true}, indexsource.State{indexsource.HealthRed, x, true}, false},
		{"red to yellow", indexsource.State{indexsource.HealthRed, x, true}, indexsource.State{indexsource.HealthYellow, x, true}, true},
		{"red to green", indexsource.State{indexsource.HealthRed, x, true}, indexsource.State{indexsource.HealthGreen, x, true}, true},
		{"yellow to green", indexsource.State{indexsource.HealthYellow, x, true}, indexsource.State{indexsource.HealthGreen, x, true}, false},
		{"green to yellow", indexsource.State{indexsource.HealthGreen, x, true}, indexsource.State{indexsource.HealthYellow, x, true}, false},
		{"green to red", indexsource.State{indexsource.HealthGreen, x, true}, indexsource.State{indexsource.HealthRed, x, true}, false},
		{"yellow to red", indexsource.State{indexsource.HealthYellow, x, true}, indexsource.State{indexsource.HealthRed, x, true}, false},
		{"green to none", indexsource.State{indexsource.HealthGreen, x, true}, indexsource.State{indexsource.HealthNone, x, true}, true},
		{"yellow to none", indexsource.State{indexsource.HealthYellow, x, true}, indexsource.State{indexsource.HealthNone, x, true}, true},
		{"red to none", indexsource.State{indexsource.HealthRed, x, true}, indexsource.State{indexsource.HealthNone, x, true}, true},
		{"identity alone", indexsource.State{indexsource.HealthGreen, x, true}, indexsource.State{indexsource.HealthGreen, y, true}, true},
		{"out of date", indexsource.State{indexsource.HealthGreen, x, true}, indexsource.State{indexsource.HealthGreen, x, false}, true},
		{"up to date", indexsource.State{indexsource.HealthGreen, x, false}, indexsource.State{indexsource.HealthGreen, x, true}, true},
		{"the same", indexsource.State{indexsource.HealthGreen, x, true}, indexsource.State{indexsource.HealthGreen, x, true}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.last.Clears(test.next); got != test.want {
				t.Errorf("Clears: got %v, want %v", got, test.want)
			}
			// The same through the hook.
			var index indexsource.Memory
			index.SetState(test.last)
			source, cache := newCache(t, &index)
			outcome(t, cache, create(t, &index, "token"))
			index.SetState(test.next)
			if got := cache.Stats().Entries == 0; got != test.want || source.State() != test.next {
				t.Errorf("the hook: cleared %v with state %v, want %v", got, source.State(), test.want)
			}
			if source.StateChanged(test.next) {
				t.Error("the hook cleared twice")
			}
			source = indexsource.New(&index)
			source.StateChanged(test.last)
			if got := source.StateChanged(test.next); got != test.want {
				t.Errorf("the hook says %v, want %v", got, test.want)
			}
		})
	}
}

func TestHealthString(t *testing.T) {
	if got := fmt.Sprint(indexsource.HealthNone, indexsource.HealthRed, indexsource.HealthYellow, indexsource.HealthGreen, indexsource.Health(7)); got != "none red yellow green unknown" {
		t.Errorf("got %q", got)
	}
}

func TestDocumentID(t *testing.T) {
	if got, want := indexsource.DocumentID(fleet.TokenID("token1")), "service_account_token-elastic/fleet-server/token1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestOutage: an index that fails refuses nobody.
func TestOutage(t *testing.T) {
	outage := errors.New("no shard available")
	_, cache := newCache(t, failingIndex{outage})
	token, err := tokencache.NewToken(fleet.TokenID("x"), tokencache.NewSecret("supersecret"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := outcome(t, cache, token), `tokencache: cache "index": no answer (source_failed): no shard available`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

type failingIndex struct{ err error }

func (f failingIndex) Get(context.Context, tokencache.TokenID) (indexsource.Document, bool, error) {
	return indexsource.Document{}, false, f.err
}
func (failingIndex) Watch(*indexsource.Source) func() { return func() {} }

// TestWatchFollowsSubscriptions: the source watches while a cache is open.
func TestWatchFollowsSubscriptions(t *testing.T) {
	watched := &watchedIndex{}
	source := indexsource.New(watched)
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	for range 2 {
		first, err := tokencache.New(group, "first", source, tokencache.Config{})
		if err != nil {
			t.Fatal(err)
		}
		second, err := tokencache.New(group, "second", source, tokencache.Config{})
		if err != nil {
			t.Fatal(err)
		}
		first.Close()
		first.Wait(t.Context())
		if watched.watching != 1 {
			t.Errorf("with one cache open: got %d watches, want 1", watched.watching)
		}
		second.Close()
		second.Wait(t.Context())
		if watched.watching != 0 {
			t.Errorf("with none open: got %d watches, want 0", watched.watching)
		}
		group = tokencache.NewGroup(tokencache.GroupConfig{})
	}
}

// TestSubscriptionEndsOnce: a second cancel does nothing.
func TestSubscriptionEndsOnce(t *testing.T) {
	watched := &watchedIndex{}
	source := indexsource.New(watched)
	told := 0
	end := source.Subscribe(invalidatorFunc(func() { told++ }))
	source.DocumentChanged(fleet.TokenID("token1"))
	source.DocumentChanged(fleet.TokenID("not a name")) // which no bearer can have
	end()
	end()
	source.DocumentChanged(fleet.TokenID("token1"))
	if told != 1 || watched.watching != 0 {
		t.Errorf("told %d times, with %d watches left; want 1 and 0", told, watched.watching)
	}
	later := indexsource.State{Health: indexsource.HealthGreen, UUID: "x", UpToDate: true}
	watched.SetState(later)
	if got := source.State(); got != (indexsource.State{}) {
		t.Errorf("it was told of %v after the cancel", got)
	}
	defer source.Subscribe(invalidatorFunc(func() {}))()
	if got := source.State(); got != later {
		t.Errorf("with another cache the state is %v, want %v", got, later)
	}
}

// TestMemoryTellsAllOfItsSources: the caches of each source forget.
func TestMemoryTellsAllOfItsSources(t *testing.T) {
	var index indexsource.Memory
	_, first := newCache(t, &index)
	_, second := newCache(t, &index)
	token := create(t, &index, "token1")
	for _, cache := range []*tokencache.Cache[indexsource.Document]{first, second} {
		if got := outcome(t, cache, token); got != "ok" {
			t.Errorf("got %s", got)
		}
	}
	index.Delete(t.Context(), token.ID())
	if got := first.Stats().Entries + second.Stats().Entries; got != 0 {
		t.Errorf("%d caches remember a deleted token", got)
	}
}

// TestMemoryByMany: its methods may be called by many at once.
func TestMemoryByMany(t *testing.T) {
	var index indexsource.Memory
	source, _ := newCache(t, &index)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for k := range 200 {
				id := fleet.TokenID(fmt.Sprintf("t%d-%d", i, k))
				if err := index.Put(t.Context(), indexsource.Document{Token: id}); err != nil {
					t.Error(err)
				}
				index.SetEnabled(t.Context(), id, true)
				if doc, ok, err := index.Get(t.Context(), id); err != nil || !ok || !doc.Enabled {
					t.Errorf("got %v, %t, %v", doc, ok, err)
				}
				index.SetState(indexsource.State{Health: indexsource.Health(k % 4)})
				source.State()
				index.Delete(t.Context(), id)
			}
		})
	}
	wg.Wait()
	if got, _ := index.List(t.Context(), fleet); len(got) != 0 {
		t.Errorf("%d documents are left", len(got))
	}
}

type watchedIndex struct {
	indexsource.Memory
	watching int
}

func (w *watchedIndex) Watch(s *indexsource.Source) func() {
	cancel := w.Memory.Watch(s)
	w.watching++
	return func() { w.watching--; cancel() }
}

// TestExpires: a document is refused from its Expires on, without a read.
func TestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var index indexsource.Memory
		_, cache := newCache(t, &index)
		defer cache.Close()
		secret := tokencache.GenerateSecret()
		token, err := tokencache.NewToken(fleet.TokenID("a"), secret)
		if err != nil {
			t.Fatal(err)
		}
		index.Put(t.Context(), indexsource.Document{Token: token.ID(), Enabled: true, Expires: time.Now().Add(time.Minute), Hash: tokenhash.New(secret)})
		for _, want := range []string{"ok", "ok"} {
			if got := outcome(t, cache, token); got != want {
				t.Errorf("before: got %s, want %s", got, want)
			}
			time.Sleep(59 * time.Second / 2)
		}
		time.Sleep(2 * time.Second)
		if got := outcome(t, cache, token); got != "refused" {
			t.Errorf("a second after its expiry: got %s", got)
		}
	})
}

// TestRecordHasNoHash: the host may keep a verdict's record for ever.
func TestRecordHasNoHash(t *testing.T) {
	var index indexsource.Memory
	_, cache := newCache(t, &index)
	token := create(t, &index, "a")
	doc, _, _ := index.Get(t.Context(), token.ID())
	doc.Previous, doc.PreviousExpires = doc.Hash, time.Now().Add(time.Hour)
	doc.Rotated, doc.RotatedBy = time.Now(), "operator"
	index.Put(t.Context(), doc)
	v, err := cache.AuthenticateToken(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	doc.Hash, doc.Previous = tokenhash.Hash{}, tokenhash.Hash{}
	if v.Record != doc {
		t.Errorf("got the record %+v, want %+v", v.Record, doc)
	}
}

// TestDocumentsChangeBeforeCachesAreTold: in the other order, a load in between reads the
// old document, and is stored after the eviction.
func TestDocumentsChangeBeforeCachesAreTold(t *testing.T) {
	var index indexsource.Memory
	id := fleet.TokenID("token1")
	get := func() (doc indexsource.Document, ok bool) {
		doc, ok, _ = index.Get(t.Context(), id)
		return doc, ok
	}
	var want func() bool
	calls := 0
	source := indexsource.New(&index)
	defer source.Subscribe(invalidatorFunc(func() {
		if calls++; !want() {
			t.Errorf("call %d: the change is not visible yet", calls)
		}
	}))()
	for i, change := range []struct {
		do   func()
		want func() bool
	}{
		{func() { index.Create(t.Context(), id, "a") }, func() bool { doc, ok := get(); return ok && doc.Creator == "a" }},
		{func() { index.Put(t.Context(), indexsource.Document{Token: id, Creator: "b", Enabled: true}) }, func() bool { doc, _ := get(); return doc.Creator == "b" }},
		{func() { index.SetEnabled(t.Context(), id, false) }, func() bool { doc, _ := get(); return !doc.Enabled }},
		{func() { index.Delete(t.Context(), id) }, func() bool { _, ok := get(); return !ok }},
	} {
		want = change.want
		change.do()
		if calls != i+1 {
			t.Errorf("change %d: told %d times", i, calls)
		}
	}
}

type invalidatorFunc func()

func (f invalidatorFunc) Clear(context.Context, tokencache.Cause) int { f(); return 0 }

func (f invalidatorFunc) Evict(context.Context, tokencache.Cause, ...tokencache.Selector) int {
	f()
	return 0
}

// TestEverythingChanged: changes that cannot be named empty the caches of the index,
// whatever its state.
func TestEverythingChanged(t *testing.T) {
	var index indexsource.Memory
	source, cache := newCache(t, &index)
	token := create(t, &index, "token1")
	for range 2 {
		outcome(t, cache, token)
		source.EverythingChanged()
		if got := cache.Stats().Entries; got != 0 {
			t.Errorf("got %d entries, want none", got)
		}
	}
}
