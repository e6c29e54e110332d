package tokenprom_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	tokenprom "github.com/svctoken/svctoken/adapters/tokenprom"
	"github.com/svctoken/svctoken/tokencache"
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
	w.collector.SetGroup(w.group)
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

func TestScrape(t *testing.T) {
	w := newWorld(t)
	w.use(t)
	got := w.scrape(t)
	for _, want := range []string{
		`svctoken_authentications_total{outcome="confirmed"} 2`,
		`svctoken_authentications_total{outcome="refused"} 2`,
		`svctoken_authentications_total{outcome="no_answer"} 1`,
		`svctoken_authentications_total{outcome="not_service_token"} 1`,
		`svctoken_cache_hits_total{cache="file"} 1`,
		`svctoken_cache_mismatches_total{cache="file"} 1`,
		`svctoken_cache_misses_total{cache="file"} 3`,
		`svctoken_cache_load_errors_total{cache="file"} 1`,
		`svctoken_cache_load_refusals_total{cache="file"} 1`,
		`svctoken_cache_entries{cache="file"} 0`,
		`svctoken_load_duration_seconds_count{cache="file",outcome="confirmed"} 1`,
		`svctoken_load_duration_seconds_count{cache="file",outcome="no_answer"} 1`,
		`svctoken_loads_ended_total{cache="file",reason="none"} 1`,
		`svctoken_loads_ended_total{cache="file",reason="source_failed"} 1`,
		`svctoken_loads_ended_total{cache="file",reason="unknown_token"} 1`,
		`svctoken_evictions_total{cause="source"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("the scrape lacks %s", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	for _, hidden := range []string{"token1", "nobody", "fleet-server"} {
		if strings.Contains(got, hidden) {
			t.Errorf("the scrape shows %s: what clients send must not become a label", hidden)
		}
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

func TestWithoutGroup(t *testing.T) {
	collector := tokenprom.New(tokenprom.Config{Labels: prometheus.Labels{"group": "a"}, Buckets: []float64{1}})
	collector.Observe(t.Context(), tokencache.Event{Kind: tokencache.EventOverload, Cache: "file", Reason: tokencache.ReasonOverloaded})
	const want = `# HELP svctoken_turned_away_total Authentications that were turned away without asking the source, by reason.
# TYPE svctoken_turned_away_total counter
svctoken_turned_away_total{cache="file",group="a",reason="overloaded"} 1
`
	if err := testutil.CollectAndCompare(collector, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// TestBeginAtZero: a counter is there before its first event, which rate and
// increase would not see otherwise. That goes for every reason and every cause.
func TestBeginAtZero(t *testing.T) {
	w := newWorld(t)
	got := w.scrape(t)
	for _, want := range []string{
		`svctoken_evictions_total{cause="asked"} 0`,
		`svctoken_evictions_total{cause="node"} 0`,
		`svctoken_loads_ended_total{cache="file",reason="none"} 0`,
		`svctoken_loads_ended_total{cache="file",reason="source_panicked"} 0`,
		`svctoken_turned_away_total{cache="file",reason="overloaded"} 0`,
		`svctoken_turned_away_total{cache="file",reason="unavailable"} 0`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("the scrape lacks %s", want)
		}
	}
	const series = `(?m)^svctoken_(?:loads_ended|turned_away|evictions)_total`
	before := len(regexp.MustCompile(series).FindAllString(got, -1))
	w.use(t)
	if after := len(regexp.MustCompile(series).FindAllString(w.scrape(t), -1)); after != before {
		t.Errorf("got %d counters before the first event, and %d after", before, after)
	}
}

// TestNames: each counter of tokencache.Stats and GroupStats is shown, under a name
// that has its own in it: who reads the page of a server or its code finds the metric.
func TestNames(t *testing.T) {
	w := newWorld(t)
	shown := w.scrape(t)
	outcomes := map[string]string{}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[tokencache.Stats]()) {
		outcomes["cache:"+field.Name] = `(?m)^svctoken_cache_(\w+_)?` + strings.ToLower(field.Name) + `(_total)?{`
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[tokencache.GroupStats]()) {
		pattern := `(?m)^svctoken_authentications_total{outcome="` + snake(field.Name) + `"}`
		if field.Type.Kind() == reflect.Int {
			pattern = `(?m)^svctoken_(\w+_)?` + strings.ToLower(field.Name) + ` `
		}
		outcomes["group:"+field.Name] = pattern
	}
	for name, pattern := range outcomes {
		if !regexp.MustCompile(pattern).MatchString(shown) {
			t.Errorf("%s: nothing matches %s", name, pattern)
		}
	}
}

// snake writes the name of a Go field as a label's value is written, in the singular.
func snake(name string) string {
	words := regexp.MustCompile(`[A-Z][a-z]*`).FindAllString(name, -1)
	return strings.TrimSuffix(strings.ToLower(strings.Join(words, "_")), "s")
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
			collector.SetGroup(group)
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
