package tokenhealth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/tokencache/tokenhealth"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

func Example() {
	var source tokentest.Source[string] // or a filesource.File, or an indexsource.Source
	var node *fleet.Node                // if there is a fleet
	checks := []tokenhealth.Check{tokenhealth.Source("index", &source)}
	if node != nil {
		checks = append(checks, tokenhealth.Fleet("fleet", node))
	}
	var health *tokenhealth.Handler = tokenhealth.New(checks...)

	show := func(path string) {
		w := httptest.NewRecorder()
		health.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Print(w.Code, " ", w.Body)
	}
	show("/_health/live")
	show("/_health/ready")
	health.ShutDown()
	show("/_health")
	// Output:
	// 200 {"status":"live"}
	// 200 {"status":"ready"}
	// 503 {"status":"not ready","reasons":["shutting down"]}
}

// A host has checks of its own.
func ExampleCheck() {
	health := tokenhealth.New(tokenhealth.Check{Name: "queue", Ready: func(context.Context) error { return errors.New("it is full") }})
	fmt.Println(health.Reasons())
	// Output: [queue: it is full]
}
