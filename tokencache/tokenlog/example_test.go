package tokenlog_test

import (
	"context"
	"log/slog"
	"os"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenlog"
)

func Example() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: tokenlog.New(logger)})
	evict.New(group).Evict(context.Background(), "elastic", "fleet-server", "token1,token2")
	// Output: level=INFO msg="tokens evicted" cause=asked evicted=0 tokens=[elastic/fleet-server/token1,token2] selectors=1
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
