package evict_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

func Example() {
	var index indexsource.Memory
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "index", indexsource.New(&index), tokencache.Config{}); err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for _, name := range []string{"token1", "token2", "token3"} {
		token, err := index.Create(context.Background(), tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID(name), "operator")
		if err != nil {
			log.Fatal(err)
		}
		if _, err := group.AuthenticateToken(ctx, token); err != nil {
			log.Fatal(err)
		}
	}

	var local *evict.Local = evict.New(group)
	var ev evict.Evictor = local // a fleet's Node takes its place, without a change below
	for _, names := range []string{"token1,token2", "*", "tok*", ""} {
		report, err := ev.Evict(ctx, "elastic", "fleet-server", names)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(report.Selector, report.Evicted)
	}
	// Output:
	// elastic/fleet-server/token1,token2 map[index:2]
	// elastic/fleet-server/* map[index:1]
	// evict: token names "tok*": name 1: * stands alone, and there are no other wildcards
	// evict: token names "": there are none; * means every token of the account
}

func ExampleHandler() {
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()

	var handler *evict.Handler = evict.NewHandler(evict.New(group), func(r *http.Request) (evict.User, bool, error) {
		name, password, _ := r.BasicAuth()
		if name != "operator" || password != "password" { // compare in constant time in earnest
			return evict.User{}, false, nil
		}
		return evict.User{Name: name, Privileges: []string{"manage_security"}}, true, nil
	}, evict.HandlerConfig{
		ClusterName: "docs", NodeID: "n1", NodeName: "node-1", MaxNames: 100, Prefix: "/es",
		Challenges: []string{`Basic realm="docs"`}, // service tokens are not taken here
		Audit: func(_ context.Context, user evict.User, report evict.Report) {
			fmt.Println(user, "evicted", report.Selector)
		},
	})

	mux := http.NewServeMux() // the host's other routes
	server := handler.Wrap(mux)

	r := httptest.NewRequest("POST", "/es/_security/service/elastic/fleet-server/credential/token/token1,token2/_clear_cache", nil)
	r.SetBasicAuth("operator", "password")
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Body)
	// Output:
	// user [operator] evicted elastic/fleet-server/token1,token2
	// 200 {"_nodes":{"total":1,"successful":1,"failed":0},"cluster_name":"docs","nodes":{"n1":{"name":"node-1"}}}
}

// An observer learns which user has asked for an eviction, by whatever way.
func ExampleUserFrom() {
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(ctx context.Context, ev tokencache.Event) {
		if user, ok := evict.UserFrom(ctx); ok {
			fmt.Println(ev.Cause, user, user.ServiceAccount)
		}
	}})
	defer group.Close()
	ctx := evict.WithUser(context.Background(), evict.User{Name: "operator"})
	evict.New(group).Evict(ctx, "elastic", "fleet-server", "*")
	// Output: asked user [operator] false
}

func ExampleSelectorError() {
	_, err := evict.Parse("elastic", "fleet-server", "token1,,token2")
	if wrong, ok := errors.AsType[*evict.SelectorError](err); ok {
		fmt.Printf("name %d of %q: %s\n", wrong.Position, wrong.Input, wrong.Rule)
	}
	// Output: name 2 of "token1,,token2": it is empty
}

// The outcome of an eviction on the other nodes, for an operator.
func ExampleNode() {
	report := evict.Report{Nodes: []evict.Node{
		{ID: "b", Name: "node-2", Evicted: map[string]int{"index": 1}},
		{ID: "c", Name: "node-3", NotServingSince: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)},
	}}
	for _, node := range report.Nodes {
		switch {
		case node.Err != nil:
			fmt.Println(node.Name, "may not have evicted:", node.Err)
		case !node.NotServingSince.IsZero():
			fmt.Println(node.Name, "does not serve since", node.NotServingSince.Format(time.Kitchen))
		default:
			fmt.Println(node.Name, "evicted", node.Evicted)
		}
	}
	// Output:
	// node-2 evicted map[index:1]
	// node-3 does not serve since 12:00PM
}
