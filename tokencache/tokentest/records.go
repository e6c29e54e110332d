package tokentest

import (
	"fmt"
	"strings"
	"sync"

	"github.com/svctoken/svctoken/tokencache"
)

// checkRecords: a record is shared by everyone who authenticates with the token, so
// that no later change or lookup may write to it, nor to what it points to.
func checkRecords(s *subject) {
	token := s.create(kinds[0])
	a := s.lookup(token.ID())
	before := recordText(a.Record)
	unchanged := func(what string) {
		s.Helper()
		if after := recordText(a.Record); after != before {
			s.Fatalf("%s wrote to the record of an earlier answer: got %s, want %s", what, after, before)
		}
	}
	s.lookup(token.ID())
	unchanged("a lookup")
	s.create(kinds[1])
	s.lookup(kinds[1])
	unchanged("another token")
	s.replace(token.ID())
	s.lookup(token.ID())
	unchanged("the replacement")
	if s.SetEnabled != nil {
		s.enable(token.ID(), false)
		s.lookup(token.ID())
		unchanged("the disabling")
	}
	s.remove(token.ID())
	unchanged("the deletion")
}

func recordText(record any) string {
	return fmt.Sprintf("%+v %s %s", record, asJSON(record), deepText(record))
}

// checkOwnRecord: an answer has the record of the token that was looked up. A record that
// names another token but not its own belongs to that one. The record of an unchanged
// token stays the same, if it does so while nobody looks up another.
func checkOwnRecord(s *subject) {
	const rounds = 10
	ids := []tokencache.TokenID{account.TokenID("recordA"), account.TokenID("recordB"), {Account: kinds[3].Account, Name: "recordC"}}
	own := make(map[tokencache.TokenID]string)
	steady := true // whether the record has no time or count that changes by itself
	for _, id := range ids {
		s.create(id)
	}
	for _, id := range ids {
		s.lookup(id) // perhaps the one after another token's
		own[id] = deepText(s.lookup(id).Record)
		steady = steady && deepText(s.lookup(id).Record) == own[id]
	}
	check := func(id tokencache.TokenID) {
		a, err := s.src.Lookup(s.Context(), id)
		if err != nil {
			s.Errorf("Lookup of %s: got error %v, want an answer", id, err)
			return
		}
		text := deepText(a.Record)
		for _, other := range ids {
			if other != id && strings.Contains(text, other.Name) && !strings.Contains(text, id.Name) {
				s.Errorf("Lookup of %s: got the record of %s", id, other)
			}
		}
		if steady && text != own[id] {
			s.Errorf("Lookup of %s, among others: got the record %s, want %s", id, text, own[id])
		}
	}
	for range rounds {
		for _, id := range ids {
			check(id)
		}
	}
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			for range rounds {
				check(id)
			}
		})
	}
	wg.Wait()
}
