package indexsource_test

import (
	"context"
	"fmt"
	"log"
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
	token, err := index.Create(id, "operator")
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := group.AuthenticateToken(ctx, token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(verdict.Token, "created by", verdict.Record.(indexsource.Document).Creator)

	index.SetEnabled(id, false)
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

// A store is an index of our own: a search engine, for example.
type store struct {
	source *indexsource.Source // who is told of changes
	docs   map[tokencache.TokenID]indexsource.Document
}

func (s *store) Get(_ context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	doc, ok := s.docs[id]
	return doc, ok, nil
}

func (s *store) Watch(source *indexsource.Source) (cancel func()) {
	s.source = source
	return func() {}
}

// put changes a document, and reports it as done when the caches have been told.
func (s *store) put(doc indexsource.Document) {
	s.docs[doc.Token] = doc
	s.source.DocumentChanged(doc.Token)
}

// health tells of a state of the engine: what it means for the caches is known
// there.
func (s *store) health(health indexsource.Health) (cleared bool) {
	return s.source.StateChanged(indexsource.State{Health: health, UUID: "a", UpToDate: true})
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
	s.put(indexsource.Document{Token: id, Hash: hash, Enabled: true, Expires: time.Now().AddDate(1, 0, 0)})

	// Its secret is replaced. The old one is good for an hour more.
	now := time.Now()
	s.put(indexsource.Document{
		Token: id, Hash: tokenhash.New(tokencache.GenerateSecret()), Enabled: true, Expires: now.AddDate(1, 0, 0),
		Rotated: now, RotatedBy: "operator", Previous: hash, PreviousExpires: now.Add(time.Hour),
	})
	fmt.Println(s.health(indexsource.HealthNone), s.health(indexsource.HealthRed), s.health(indexsource.HealthGreen))
	s.source.EverythingChanged() // after a gap in what the engine tells
	// Output:
	// true false true
}
