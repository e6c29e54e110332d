package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

func TestTable(t *testing.T) {
	tokentest.RunSource(t, func(t testing.TB) (tokencache.Source[string], tokentest.Backend) {
		tokens := &table{rows: make(map[tokencache.TokenID]row)}
		return tokens, tokentest.Backend{
			Create: func(ctx context.Context, id tokencache.TokenID) (tokencache.Token, error) {
				token := tokentest.NewToken(t, id.String(), "")
				return token, tokens.set(ctx, id, &row{token.Secret(), "editor"})
			},
			Delete: func(ctx context.Context, id tokencache.TokenID) error { return tokens.set(ctx, id, nil) },
		}
	})
}

func get(handler http.Handler, token tokencache.Token) int {
	r := httptest.NewRequest("GET", "/hello", nil)
	r.Header.Set("Authorization", tokentest.Authorization(token))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Code
}

func TestExpiryAndEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src tokentest.Source[string]
		handler, group, evictor, err := newServer(&src)
		if err != nil {
			t.Fatal(err)
		}
		defer group.Close()
		token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
		src.Put(token, "editor")
		for range 2 {
			get(handler, token)
			time.Sleep(21 * time.Minute)
		}
		if src.Reads() != 2 {
			t.Errorf("got %d reads, want 2: the second after the expiry", src.Reads())
		}
		// A load is in flight when its token is evicted.
		hold := src.Hold()
		early := make(chan int, 1)
		go func() { early <- get(handler, token) }()
		synctest.Wait()
		src.SetQuiet(true)
		src.Remove(token.ID())
		evictor.Evict(t.Context(), "elastic", "fleet-server", "token1")
		hold.Release()
		if got, late := <-early, get(handler, token); got != 200 || late != 401 {
			t.Errorf("got %d before and %d after the eviction, want 200 and 401", got, late)
		}
	})
}
