package tokenotel_test

import (
	"context"
	"fmt"
	"net/http"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	tokenotel "github.com/svctoken/svctoken/adapters/tokenotel"
	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhttp"
)

func Example() {
	spans := tracetest.NewSpanRecorder() // in production: an exporter
	telemetry, err := tokenotel.New(tokenotel.Config{
		TracerProvider: trace.NewTracerProvider(trace.WithSpanProcessor(spans)),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer telemetry.Close()
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: telemetry.Observe})
	defer group.Close()
	telemetry.Watch("", group)

	evict.New(group).Evict(context.Background(), "elastic", "fleet-server", "token1,token2")
	for _, span := range spans.Ended() {
		fmt.Println(span.Name(), span.Attributes()[0].Value.String())
	}
	// Output: svctoken.eviction asked
}

// The middleware with a span for each request that had to wait.
func ExampleTelemetry_Trace() {
	telemetry, err := tokenotel.New(tokenotel.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer telemetry.Close()
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: telemetry.Observe})
	defer group.Close()
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	http.ListenAndServe("localhost:8080", tokenhttp.Wrap(telemetry.Trace(group), app, tokenhttp.Config{}))
}
