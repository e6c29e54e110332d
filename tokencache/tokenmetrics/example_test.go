package tokenmetrics_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
)

func Example() {
	metrics := tokenmetrics.New(tokenmetrics.Config{})
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: metrics.Observe})
	defer group.Close()
	metrics.Watch("", group)
	var index indexsource.Memory
	source := indexsource.New(&index)
	metrics.WatchIndex("index", func() tokenmetrics.IndexStatus {
		return tokenmetrics.IndexStatus{Health: source.State().Health, Revision: -1, Polled: time.Time{}}
	})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", tokenmetrics.Handler(metrics))

	evict.New(group).Evict(context.Background(), "elastic", "fleet-server", "*")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "svctoken_evictions_total") || strings.HasPrefix(line, "svctoken_index_health") {
			fmt.Print(line)
		}
	}
	// Output:
	// svctoken_evictions_total{cause="asked"} 1
	// svctoken_evictions_total{cause="closed"} 0
	// svctoken_evictions_total{cause="node"} 0
	// svctoken_evictions_total{cause="source"} 0
	// svctoken_evictions_total{cause="state"} 0
	// svctoken_index_health{health="none",index="index"} 1
	// svctoken_index_health{health="red",index="index"} 0
	// svctoken_index_health{health="yellow",index="index"} 0
	// svctoken_index_health{health="green",index="index"} 0
}

// A file, and the changes that a host makes on behalf of its operators.
func ExampleObserver_WatchFile() {
	metrics := tokenmetrics.New(tokenmetrics.Config{Buckets: []float64{.01, .1, 1}})
	file, err := filesource.Open("no/such/file", filesource.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	metrics.WatchFile("file", file)

	account := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	_, err = file.Create(context.Background(), account.TokenID("token1")) // there is no such folder
	metrics.ObserveChange("create", err)
	for f := range metrics.All() {
		if f.Name == "file.missing" || f.Name == "changes" {
			fmt.Println(f.FullName(), f.Kind, f.Points, f.Help)
		}
	}
	// Output:
	// svctoken_changes_total counter [{[{change create} {outcome failed}] 1 []}] Changes of tokens that somebody has asked for, by what came of them.
	// svctoken_file_missing gauge [{[{file file}] 1 []}] Whether there is no file.
}

// A node of a fleet.
func ExampleObserver_WatchFleet() {
	metrics := tokenmetrics.New(tokenmetrics.Config{})
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: metrics.Observe})
	shared := fleettest.NewLog() // a real fleet has a log such as fleet/fleetnats
	node, err := fleet.New(shared.Connect(), group, fleet.Config{Observer: metrics.ObserveFleet})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer node.Close()
	metrics.Watch("", group)
	metrics.WatchFleet("", node)
	http.ListenAndServe("localhost:9090", tokenmetrics.Handler(metrics))
}

// A bridge to a library of the host's own: each series as a line.
func ExampleObserver_All() {
	metrics := tokenmetrics.New(tokenmetrics.Config{Buckets: []float64{.1}})
	metrics.Observe(context.Background(), tokencache.Event{Kind: tokencache.EventLoad, Cache: "file", Duration: time.Second})
	send(metrics)
	// Output:
	// svctoken_load_duration_seconds [cache=file outcome=confirmed] 0 of 1 within 0.1 seconds
	// svctoken_loads_ended_total [cache=file reason=none] a counter at 1
}

func send(metrics *tokenmetrics.Observer) {
	for f := range metrics.All() {
		for _, p := range f.Points {
			fmt.Println(f.FullName(), words(p.Labels), value(f, p))
		}
	}
}

func words(labels []tokenmetrics.Label) (list []string) {
	for _, l := range labels {
		list = append(list, l.Name+"="+l.Value)
	}
	return list
}

// value returns what one series has to say.
func value(f tokenmetrics.Family, p tokenmetrics.Point) string {
	kinds := map[tokenmetrics.Kind]string{tokenmetrics.Counter: "a counter at ", tokenmetrics.Gauge: "a gauge at "}
	if f.Kind != tokenmetrics.Histogram {
		return fmt.Sprint(kinds[f.Kind], p.Value)
	}
	count := func(b tokenmetrics.Bucket) uint64 { return b.Count }
	return fmt.Sprint(count(p.Buckets[0]), " of ", count(p.Buckets[len(p.Buckets)-1]), " within ", p.Buckets[0].Bound, " ", f.Unit)
}
