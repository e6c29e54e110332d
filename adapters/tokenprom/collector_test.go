package tokenprom_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	tokenprom "github.com/svctoken/svctoken/adapters/tokenprom"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// A world is a group that is observed, and what was told until now.
type world struct {
	group     *tokencache.Group
	src       *tokentest.Source[string]
	events    *tokentest.Recorder
	collector *tokenprom.Collector
	registry  *prometheus.Registry
}

func newWorld(t testing.TB) *world {
	w := &world{src: new(tokentest.Source[string]), events: new(tokentest.Recorder), collector: tokenprom.New(tokenprom.Config{}), registry: prometheus.NewPedanticRegistry()}
	w.group = tokencache.NewGroup(tokencache.GroupConfig{Observer: w.collector.Observe})
	t.Cleanup(w.group.Close)
	if _, err := tokencache.New(w.group, "file", w.src, tokencache.Config{MaxBackoff: -1, AbsentTTL: -1}); err != nil {
		t.Fatal(err)
	}
	w.collector.Watch("", w.group)
	w.registry.MustRegister(w.collector)
	return w
}

// use has one hit, one mismatch, two refusals, one outage and one eviction happen.
func (w *world) use(t testing.TB) {
	token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
	w.src.Put(token, "record") // an eviction
	for _, secret := range []string{token.Secret().Reveal(), token.Secret().Reveal(), "another-secret"} {
		w.group.AuthenticateToken(t.Context(), tokentest.NewToken(t, "elastic/fleet-server/token1", secret))
	}
	w.group.AuthenticateToken(t.Context(), tokentest.NewToken(t, "elastic/fleet-server/nobody", ""))
	w.src.SetError(errors.New("no route"))
	w.group.AuthenticateToken(t.Context(), tokentest.NewToken(t, "elastic/fleet-server/token2", ""))
	w.src.SetError(nil)
	w.group.Authenticate(t.Context(), "Basic dXNlcjpwYXNz")
	w.group.Close() // waits for no one
	if err := w.group.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (w *world) scrape(t testing.TB) string {
	t.Helper()
	r := httptest.NewRequest("GET", "/metrics", nil)
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(w.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(rec, r)
	if rec.Code != 200 {
		t.Fatalf("got %d: %s", rec.Code, rec.Body)
	}
	return rec.Body.String()
}

// TestSameAsText: the registry shows what package tokenmetrics shows as text, to the
// letter.
func TestSameAsText(t *testing.T) {
	w := newWorld(t)
	w.use(t)
	rec := httptest.NewRecorder()
	tokenmetrics.Handler(w.collector.Observer).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	want, got := sorted(rec.Body.String()), sorted(w.scrape(t))
	if diff := cmp.Diff(want, got); diff != "" || len(got) < 100 {
		t.Errorf("%d lines (-text +registry):\n%s", len(got), diff)
	}
}

func sorted(page string) []string { return slices.Sorted(strings.Lines(page)) }

// TestLabels: what a host adds to each metric.
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

// TestLint: names and units are as Prometheus wants them.
func TestLint(t *testing.T) {
	w := newWorld(t)
	w.use(t)
	problems, err := testutil.CollectAndLint(w.collector)
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
