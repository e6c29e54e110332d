package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// A slow source holds every token, and a hash takes five seconds.
type slow struct{}

func (slow) Lookup(context.Context, tokencache.TokenID) (tokencache.Answer[string], error) {
	return tokencache.Answer[string]{Held: true, Verify: func(tokencache.Secret) bool { time.Sleep(5 * time.Second); return false }}, nil
}

func (slow) Subscribe(tokencache.Invalidator) func() { return func() {} }

// TestOverload: a request for which there is no place to wait is 503, and says when to
// try again.
func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{group: tokencache.NewGroup(tokencache.GroupConfig{MaxHashing: 1, MaxQueue: 1}), logger: slog.New(slog.DiscardHandler)}
		defer s.group.Close()
		if _, err := tokencache.New(s.group, "slow", slow{}, tokencache.Config{}); err != nil {
			t.Fatal(err)
		}
		var got [3]*httptest.ResponseRecorder
		var requests sync.WaitGroup
		for i := range got {
			token, err := tokencache.NewToken(tokencache.Account{Namespace: "a", Service: "b"}.TokenID("t"), tokencache.NewSecret(fmt.Sprintf("wrong-secret-%d", i)))
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/_security/_authenticate", nil)
			r.Header.Set("Authorization", "Bearer "+token.RevealBearer())
			got[i] = httptest.NewRecorder()
			requests.Go(func() { s.authenticated(got[i], r) })
			synctest.Wait()
		}
		// Callers that are turned away together are told to come back after one to three
		// seconds.
		if after := got[2].Header().Get("Retry-After"); got[2].Code != 503 || !slices.Contains([]string{"1", "2", "3"}, after) || !strings.Contains(got[2].Body.String(), "at present") {
			t.Errorf("got %d, Retry-After %q, %s", got[2].Code, after, got[2].Body)
		}
		requests.Wait()
		for _, refused := range got[:2] {
			if refused.Code != 401 || refused.Header().Get("Retry-After") != "" {
				t.Errorf("got %d, want the others refused", refused.Code)
			}
		}
	})
}
