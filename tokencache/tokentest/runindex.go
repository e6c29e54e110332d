package tokentest

import (
	"context"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// RunIndex checks an implementation of indexsource.Index, as [RunSource] checks a
// source: by the same properties, seen through indexsource.New, and by those of an
// index. Each is a subtest with an instance of its own from open, which must be
// empty. Rotation, expiry and last use are checked of an index that has the methods of
// indexsource.Memory for them: Rotate, SetExpiry, and those of indexsource.UseStore.
//
// Open must clean up after itself, with t.Cleanup.
func RunIndex(t *testing.T, open func(testing.TB) (indexsource.Index, Backend)) {
	t.Helper()
	for _, p := range indexProperties() {
		t.Run(p.name, func(t *testing.T) {
			index, b := open(t)
			p.check(newIndexSubject(t, index, b))
		})
	}
}

// An indexSubject is an index under test, with a source for it.
type indexSubject struct {
	*subject
	index indexsource.Index
}

func newIndexSubject(t testing.TB, index indexsource.Index, b Backend) *indexSubject {
	t.Helper()
	if r, ok := index.(rotator); ok && b.Rotate == nil {
		b.Rotate = func(ctx context.Context, id tokencache.TokenID, grace time.Duration) (tokencache.Token, error) {
			return r.Rotate(ctx, id, grace, "wilma")
		}
	}
	return &indexSubject{newSubject(t, erase(indexsource.New(index)), b), index}
}

// An indexProperty is one promise of an index, and the test of it.
type indexProperty struct {
	name  string
	check func(*indexSubject)
}

func indexProperties() (list []indexProperty) {
	for _, p := range sourceProperties {
		list = append(list, indexProperty{p.name, func(s *indexSubject) { p.check(s.subject) }})
	}
	return append(list,
		indexProperty{"Documents", checkDocuments},
		indexProperty{"Listing", checkListing},
		indexProperty{"EverySource", checkEverySource},
		indexProperty{"EndOfWatch", checkEndOfWatch},
		indexProperty{"Rotation", checkRotation},
		indexProperty{"Expiry", checkExpiry},
		indexProperty{"LastUse", checkLastUse})
}

// checkDocuments: Get returns the document of the token that it was asked for, with
// its hash, and false if there is none.
func checkDocuments(s *indexSubject) {
	id := account.TokenID("token1")
	token := s.create(id)
	s.create(account.TokenID("token2"))
	doc, ok, err := s.index.Get(s.Context(), token.ID())
	switch {
	case err != nil || !ok:
		s.Fatalf("Get of %s, which was created: got %v and error %v, want its document", token.ID(), ok, err)
	case doc.Token != token.ID():
		s.Errorf("Get of %s: got the document of %s", token.ID(), doc.Token)
	case !doc.Enabled:
		s.Errorf("Get of %s, which was created: got a document that is not enabled", token.ID())
	case !doc.Hash.Verify(token.Secret()):
		s.Errorf("Get of %s: got a hash that does not match its secret", token.ID())
	}
	s.remove(token.ID())
	if doc, ok, err := s.index.Get(s.Context(), token.ID()); ok || err != nil || doc != (indexsource.Document{}) {
		s.Errorf("Get of %s, which was deleted: got %+v, %v and error %v, want the zero Document, false and none", token.ID(), doc, ok, err)
	}
}

// checkEverySource: each source that watches is told, even if there are several.
func checkEverySource(s *indexSubject) {
	s.tells()
	all := make([]*listener, 3)
	for i := range all {
		all[i] = &listener{id: account.TokenID("token1")}
		defer indexsource.New(s.index).Subscribe(all[i])()
	}
	s.create(all[0].id)
	for i, l := range all {
		if l.told.Load() == 0 {
			s.Errorf("source %d of %d was not told of a creation", i+1, len(all))
		}
	}
}

// checkEndOfWatch: a source that has ended its watch is told nothing, and can watch
// again. Ending twice does nothing.
func checkEndOfWatch(s *indexSubject) {
	s.tells()
	l := &listener{id: account.TokenID("token1")}
	source := indexsource.New(unwatched{}) // hears only of what the hooks are called for
	defer source.Subscribe(l)()
	end := s.index.Watch(source)
	end()
	end()
	// An index may report its state when the watch begins.
	before := l.told.Load()
	s.create(l.id)
	if l.told.Load() != before {
		s.Error("a source was told of a change after the end of its watch")
	}
	defer s.index.Watch(source)()
	before = l.told.Load()
	s.remove(l.id)
	if l.told.Load() == before {
		s.Error("a source that ended its watch and watched again was told nothing")
	}
}

// unwatched is an index that tells nothing.
type unwatched struct{}

func (unwatched) Get(context.Context, tokencache.TokenID) (indexsource.Document, bool, error) {
	return indexsource.Document{}, false, nil
}

func (unwatched) Watch(*indexsource.Source) (cancel func()) { return func() {} }
