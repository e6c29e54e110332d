package tokenprom_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	tokenprom "github.com/svctoken/svctoken/adapters/tokenprom"
	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
)

func Example() {
	collector := tokenprom.New(tokenprom.Config{})
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: collector.Observe})
	defer group.Close()
	collector.Watch("", group)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()

	evict.New(group).Evict(context.Background(), "elastic", "fleet-server", "*")
	response, err := http.Get(server.URL + "/metrics")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "svctoken_evictions_total") {
			fmt.Print(line)
		}
	}
	fmt.Println(err)
	// Output:
	// svctoken_evictions_total{cause="asked"} 1
	// svctoken_evictions_total{cause="closed"} 0
	// svctoken_evictions_total{cause="node"} 0
	// svctoken_evictions_total{cause="source"} 0
	// svctoken_evictions_total{cause="state"} 0
	// <nil>
}
