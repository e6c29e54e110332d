package tokenotel_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	tokenotel "github.com/svctoken/svctoken/adapters/tokenotel"
	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
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
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: telemetry.Observe})
	defer group.Close()
	registration, err := telemetry.Watch(group)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer registration.Unregister()

	evict.New(group).Evict(context.Background(), "elastic", "fleet-server", "token1,token2")
	for _, span := range spans.Ended() {
		fmt.Println(span.Name(), span.Attributes()[0].Value.String())
	}
	// Output: svctoken.eviction asked
}
