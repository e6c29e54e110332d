package tokenlog_test

import (
	"context"
	"log/slog"
	"os"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenlog"
)

func Example() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	logs := tokenlog.New(tokenlog.Config{
		Logger: logger,
		Caller: func(ctx context.Context) string { user, _ := ctx.Value(operatorKey{}).(string); return user },
	})
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: logs.Observe})
	logs.Watch("tokens", group)
	ctx := context.WithValue(context.Background(), operatorKey{}, "ada") // as the host's middleware does it
	evict.New(group).Evict(ctx, "elastic", "fleet-server", "token1,token2")
	// Output: level=INFO msg="tokens evicted" group=tokens cause=asked evicted=0 caller=ada tokens=[elastic/fleet-server/token1,token2] selectors=1
}

// operatorKey is the key under which the host keeps the user who is logged in.
type operatorKey struct{}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// The line that a node of a fleet is worth.
func ExampleObserver_ObserveFleet() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	show := func(logs *tokenlog.Observer) { logs.ObserveFleet(fleet.Event{Kind: fleet.EventServing, Position: 12}) }
	show(tokenlog.New(tokenlog.Config{Logger: logger}))
	// Output: level=INFO msg="the node serves" position=12 times=1
}
