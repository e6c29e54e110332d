package indexsource_test

import (
	"context"
	"fmt"
	"iter"
	"log"
	"log/slog"
	"maps"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

func Example() {
	var index indexsource.Memory
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "index", indexsource.New(&index), tokencache.Config{}); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	token, err := index.Create(ctx, id, "operator")
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := group.AuthenticateToken(ctx, token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(verdict.Token, "created by", verdict.Record.(indexsource.Document).Creator)

	index.SetEnabled(ctx, id, false)
	_, err = group.AuthenticateToken(ctx, token)
	fmt.Println(err)
	// Output:
	// elastic/fleet-server/token1 created by operator
	// tokencache: token refused: elastic/fleet-server/token1: disabled
}

func ExampleState_Clears() {
	green := indexsource.State{Health: indexsource.HealthGreen, UUID: "a", UpToDate: true}
	yellow := indexsource.State{Health: indexsource.HealthYellow, UUID: "a", UpToDate: true}
	restored := indexsource.State{Health: indexsource.HealthGreen, UUID: "b", UpToDate: true}
	fmt.Println(green.Clears(yellow), green.Clears(restored))
	// Output: false true
}

// A store is an index of our own, for example in a search engine.
type store struct {
	watchers indexsource.Watchers // the sources that are told of changes
	docs     map[tokencache.TokenID]indexsource.Document
}

func (s *store) Get(_ context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	doc, ok := s.docs[id]
	return doc, ok, nil
}

func (s *store) Watch(source *indexsource.Source) (cancel func()) {
	return s.watchers.Add(source)
}

// put changes a document, and reports it as done when the caches have been told.
func (s *store) put(doc indexsource.Document) {
	s.docs[doc.Token] = doc
	for source := range s.watchers.All() {
		source.DocumentChanged(doc.Token)
	}
}

// health passes on the engine's state. The source knows what it means for the caches.
func (s *store) health(health indexsource.Health) (cleared bool) {
	for source := range s.watchers.All() {
		cleared = source.StateChanged(indexsource.State{Health: health, UUID: "a", UpToDate: true})
	}
	return cleared
}

func ExampleIndex() {
	s := &store{docs: make(map[tokencache.TokenID]indexsource.Document)}
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "store", indexsource.New(s), tokencache.Config{}); err != nil {
		log.Fatal(err)
	}
	hash, err := tokenhash.Parse("{PBKDF2}10000$Jjp4F6YYEcvJUnfxgjCNbQ5FEZf+wYpn9ilu3JCNvtM=$P54fRWFSJkJnrCFmHBHDLpjIUZE6ejWbHqVkRMxyR4E=")
	if err != nil {
		log.Fatal(err)
	}
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	doc := indexsource.Document{Token: id, Hash: hash, Enabled: true, Expires: time.Now().AddDate(1, 0, 0)}
	s.put(doc)

	// Its secret is replaced. The old one is good for an hour more.
	doc = doc.Rotate(tokenhash.New(tokencache.GenerateSecret()), time.Hour, "operator")
	s.put(doc)
	fmt.Println(doc.RotatedBy, doc.PreviousExpires.Sub(doc.Rotated).Round(time.Minute), doc.Previous == hash)

	fmt.Println(s.watchers.Len(), s.health(indexsource.HealthNone), s.health(indexsource.HealthRed), s.health(indexsource.HealthGreen))
	for source := range s.watchers.All() {
		source.AccountChanged(id.Account) // after several of its tokens were deleted
		source.EverythingChanged()        // after a gap in the engine's notifications
	}
	// Output:
	// operator 1h0m0s true
	// 1 true false true
}

// A token's life in an index, with the names of the users who changed it.
func ExampleMemory() {
	var index indexsource.Memory
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	cache, err := tokencache.New(group, "index", indexsource.New(&index), tokencache.Config{})
	if err != nil {
		log.Fatal(err)
	}
	uses := func() iter.Seq2[tokencache.TokenID, time.Time] { return maps.All(map[tokencache.TokenID]time.Time{}) } // of the cache
	var store indexsource.UseStore = &index
	defer indexsource.KeepUses(store, uses, slog.Default())()

	ctx := indexsource.WithActor(context.Background(), "wilma")
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	before, err := index.CreateUntil(ctx, id, indexsource.Actor(ctx), time.Now().AddDate(0, 3, 0))
	if err != nil {
		log.Fatal(err)
	}
	after, err := index.Rotate(ctx, id, time.Hour, indexsource.Actor(ctx))
	if err != nil {
		log.Fatal(err)
	}
	for _, token := range []tokencache.Token{before, after} {
		_, err := cache.AuthenticateToken(ctx, token)
		fmt.Println(token, err)
	}
	if err := index.SetExpiry(ctx, id, time.Time{}); err != nil { // never
		log.Fatal(err)
	}
	if err := index.NoteUses(ctx, map[tokencache.TokenID]time.Time{id: time.Now()}); err != nil { // as KeepUses does
		log.Fatal(err)
	}
	docs, _ := index.List(ctx, id.Account)
	used, err := index.LastUses(ctx, id.Account)
	fmt.Println(docs[0].RotatedBy, len(used), err, index.Delete(ctx, id))
	// Output:
	// elastic/fleet-server/token1 <nil>
	// elastic/fleet-server/token1 <nil>
	// wilma 1 <nil> <nil>
}
