package tokenprom_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	tokenprom "github.com/svctoken/svctoken/adapters/tokenprom"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// observed returns a collector that watches a group, and has observed an event of each
// kind that has a metric.
func observed(t *testing.T) *tokenprom.Collector {
	t.Helper()
	collector := tokenprom.New(tokenprom.Config{})
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: collector.Observe})
	t.Cleanup(group.Close)
	if _, err := tokencache.New(group, "file", new(tokentest.Source[string]), tokencache.Config{}); err != nil {
		t.Fatal(err)
	}
	collector.Watch("", group)
	group.Authenticate(t.Context(), "Basic dXNlcjpwYXNz")
	for _, kind := range []tokencache.EventKind{tokencache.EventLoad, tokencache.EventEviction, tokencache.EventOverload} {
		collector.Observe(t.Context(), tokencache.Event{Kind: kind, Cache: "file", Duration: time.Second})
	}
	collector.ObserveChange("delete", errors.New("disk full"))
	return collector
}

// TestSameAsText: the registry shows exactly what package tokenmetrics shows as text.
func TestSameAsText(t *testing.T) {
	collector, registry := observed(t), prometheus.NewPedanticRegistry()
	registry.MustRegister(collector)
	want := sorted(t, tokenmetrics.Handler(collector.Observer))
	got := sorted(t, promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	if diff := cmp.Diff(want, got); diff != "" || len(got) < 100 {
		t.Errorf("%d lines (-text +registry):\n%s", len(got), diff)
	}
}

// sorted returns the lines of a page.
func sorted(t *testing.T, page http.Handler) []string {
	t.Helper()
	rec := httptest.NewRecorder()
	page.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if rec.Code != http.StatusOK {
		t.Fatalf("got %d: %s", rec.Code, rec.Body)
	}
	return slices.Sorted(strings.Lines(rec.Body.String()))
}

// TestLabels: a host can add labels to each metric.
func TestLabels(t *testing.T) {
	collector := tokenprom.New(tokenprom.Config{Buckets: []float64{1}})
	collector.Observe(t.Context(), tokencache.Event{Kind: tokencache.EventOverload, Cache: "file", Reason: tokencache.ReasonOverloaded})
	const want = `# HELP svctoken_turned_away_total Authentications that were turned away without asking the source, by reason.
# TYPE svctoken_turned_away_total counter
svctoken_turned_away_total{cache="file",reason="overloaded",site="a"} 1
`
	registry := prometheus.NewPedanticRegistry()
	prometheus.WrapRegistererWith(prometheus.Labels{"site": "a"}, registry).MustRegister(collector)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// TestLint: names and units follow Prometheus' conventions.
func TestLint(t *testing.T) {
	problems, err := testutil.CollectAndLint(observed(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// BenchmarkHit compares hits of a group that nobody observes with those of one with a
// collector: they cost the same.
func BenchmarkHit(b *testing.B) {
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("collector=%v", with), func(b *testing.B) {
			var cfg tokencache.GroupConfig
			collector := tokenprom.New(tokenprom.Config{})
			if with {
				cfg.Observer = collector.Observe
			}
			group := tokencache.NewGroup(cfg)
			defer group.Close()
			collector.Watch("", group)
			var src tokentest.Source[string]
			if _, err := tokencache.New(group, "file", &src, tokencache.Config{}); err != nil {
				b.Fatal(err)
			}
			token := tokentest.NewToken(b, "elastic/fleet-server/token1", "")
			src.Put(token, "record")
			header := tokentest.Authorization(token)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := group.Authenticate(b.Context(), header); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
