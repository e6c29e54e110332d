// Command embedded is a server with a mux and a table of tokens of its own, to which
// svctoken was added: middleware, metrics for Prometheus, a log, and its table as the
// source. See docs/embedding.md.
//
//	go run -C examples/embedded .
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	tokenprom "github.com/svctoken/svctoken/adapters/tokenprom"
	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhttp"
	"github.com/svctoken/svctoken/tokencache/tokenlog"
)

// A table is the host's own table of tokens, with their roles.
type table struct {
	mu     sync.Mutex // guards rows
	rows   map[tokencache.TokenID]row
	caches tokencache.Subscribers
}

type row struct {
	secret tokencache.Secret // a real one keeps a password hash
	role   string
}

// Lookup answers with the role as the record.
func (t *table) Lookup(_ context.Context, id tokencache.TokenID) (tokencache.Answer[string], error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.rows[id]
	return tokencache.Answer[string]{Held: ok, Record: r.role, Verify: r.secret.Equal}, nil
}

func (t *table) Subscribe(cache tokencache.Invalidator) (cancel func()) { return t.caches.Add(cache) }

// set adds or replaces a row, or deletes it if r is nil.
func (t *table) set(ctx context.Context, id tokencache.TokenID, r *row) error {
	sel, err := id.Select()
	if err != nil {
		return err
	}
	t.mu.Lock()
	delete(t.rows, id)
	if r != nil {
		t.rows[id] = *r
	}
	t.mu.Unlock()
	t.caches.Evict(ctx, tokencache.CauseSource, sel) // the change is visible by now
	return nil
}

// newServer returns the host's handler, with the group before it.
func newServer(source tokencache.Source[string]) (http.Handler, *tokencache.Group, evict.Evictor, error) {
	metrics, logs := tokenprom.New(tokenprom.Config{}), tokenlog.New(tokenlog.Config{})
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(ctx context.Context, ev tokencache.Event) { metrics.Observe(ctx, ev); logs.Observe(ctx, ev) }})
	metrics.Watch("", group)
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	_, err := tokencache.New(group, "table", source, tokencache.Config{})
	mux := http.NewServeMux()
	mux.Handle("GET /hello", tokenhttp.Wrap(group, http.HandlerFunc(hello), tokenhttp.Config{}))
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux, group, evict.New(group), err
}

func hello(w http.ResponseWriter, r *http.Request) {
	verdict, _ := tokenhttp.Verdict(r.Context())
	fmt.Fprintf(w, "hello %s, %s\n", verdict.Token.Account, verdict.Record)
}

func main() {
	tokens := &table{rows: make(map[tokencache.TokenID]row)}
	handler, _, _, err := newServer(tokens)
	if err != nil {
		log.Fatal(err)
	}
	account := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	token, err := tokencache.NewToken(account.TokenID("token1"), tokencache.GenerateSecret())
	if err != nil {
		log.Fatal(err)
	}
	if err := tokens.set(context.Background(), token.ID(), &row{token.Secret(), "editor"}); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("curl -H 'Authorization: Bearer %s' http://localhost:8080/hello\n", token.RevealBearer())
	log.Fatal(http.ListenAndServe("localhost:8080", handler))
}
