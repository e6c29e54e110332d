package tokenotel_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	tokenotel "github.com/svctoken/svctoken/adapters/tokenotel"
	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

func TestSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewSpanRecorder()
		provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
		telemetry, err := tokenotel.New(tokenotel.Config{TracerProvider: provider})
		if err != nil {
			t.Fatal(err)
		}
		group := tokencache.NewGroup(tokencache.GroupConfig{Observer: telemetry.Observe})
		defer group.Close()
		var src tokentest.Source[string]
		for _, name := range []string{"file", "index"} {
			if _, err := tokencache.New(group, name, &src, tokencache.Config{}); err != nil {
				t.Fatal(err)
			}
		}
		token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
		src.SetQuiet(true)
		src.Put(token, "record")
		src.SetLatency(30 * time.Millisecond)

		ctx, parent := provider.Tracer("test").Start(t.Context(), "request")
		for range 5 { // one load, four hits
			if _, err := group.AuthenticateToken(ctx, token); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait() // the observer hears of the load after its callers have their answer
		evict.New(group).Evict(ctx, "elastic", "fleet-server", "*")
		src.SetError(errors.New("no route"))
		group.AuthenticateToken(ctx, token)
		synctest.Wait()

		var got []string
		for _, span := range spans.Ended() {
			if span.Parent().SpanID() != parent.SpanContext().SpanID() {
				t.Errorf("%s is not below the caller's span", span.Name())
			}
			var attrs []string
			for _, a := range span.Attributes() {
				attrs = append(attrs, strings.TrimPrefix(string(a.Key), "svctoken.")+"="+a.Value.String())
			}
			got = append(got, fmt.Sprint(span.Name(), " ", span.EndTime().Sub(span.StartTime()), " ", span.Status().Code == codes.Error, " ", strings.Join(attrs, " ")))
		}
		want := []string{
			"svctoken.load 30ms false cache=file reason=none token=elastic/fleet-server/token1",
			`svctoken.eviction 0s false cause=asked evicted=1 selectors=["elastic/fleet-server/*"]`,
			"svctoken.load 30ms true cache=file reason=source_failed token=elastic/fleet-server/token1 error.type=source_failed",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("spans (-want +got):\n%s", diff)
		}
	})
}

func TestMetrics(t *testing.T) {
	reader := metric.NewManualReader()
	telemetry, err := tokenotel.New(tokenotel.Config{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))})
	if err != nil {
		t.Fatal(err)
	}
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: telemetry.Observe})
	defer group.Close()
	telemetry.Watch("", group)
	var src tokentest.Source[string]
	if _, err := tokencache.New(group, "file", &src, tokencache.Config{}); err != nil {
		t.Fatal(err)
	}
	token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
	src.Put(token, "record")
	group.AuthenticateToken(t.Context(), token)
	group.AuthenticateToken(t.Context(), token)
	group.AuthenticateToken(t.Context(), tokentest.NewToken(t, "elastic/fleet-server/token1", "another-secret"))
	telemetry.Observe(t.Context(), tokencache.Event{Kind: tokencache.EventOverload, Cache: "file", Reason: tokencache.ReasonOverloaded})
	telemetry.Observe(t.Context(), tokencache.Event{Kind: tokencache.EventLoad, Cache: "other", Duration: time.Second})

	telemetry.Observe(t.Context(), tokencache.Event{Kind: tokencache.EventLoad, Cache: "file", Duration: 2 * time.Second, Reason: tokencache.ReasonSourceTimeout, Err: errors.New("slow")})
	telemetry.WatchFile("tokens", file{})

	got := collect(t, reader)
	for _, want := range []string{
		"svctoken.authentications outcome=confirmed 2",
		"svctoken.authentications outcome=refused 1",
		"svctoken.cache.hits cache=file 1",
		"svctoken.cache.mismatches cache=file 1",
		"svctoken.cache.misses cache=file 1",
		"svctoken.cache.evicted cache=file 0",
		"svctoken.cache.entries cache=file 1",
		"svctoken.cache.loading cache=file 0",
		"svctoken.cache.loads_waiting cache=file 0",
		"svctoken.hashing  0",
		"svctoken.hashing_waiting  0",
		"svctoken.load.duration s cache=other,outcome=confirmed 1 in 1",
		"svctoken.load.duration s cache=file,error.type=source_timeout,outcome=no_answer 1 in 2",
		"svctoken.evictions cause=source 1",
		"svctoken.turned_away cache=file,reason=overloaded 1",
		"svctoken.file.tokens file=tokens 7",
		"svctoken.file.ok file=tokens 1",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("there is no %s", want)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(got, "\n"))
	}
	telemetry.Close()
	telemetry.Close()
	for _, point := range collect(t, reader) {
		if strings.HasPrefix(point, "svctoken.cache.entries") {
			t.Errorf("after Close: %s", point)
		}
	}
}

type file struct{}

func (file) Status() filesource.Status { return filesource.Status{Tokens: 7} }

// collect returns each data point as text: name, unit if there is one, attributes and
// value.
func collect(t *testing.T, reader metric.Reader) (points []string) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[float64]:
				if !data.IsMonotonic {
					t.Errorf("%s goes up and down", m.Name)
				}
				points = append(points, values(m.Name, data.DataPoints)...)
			case metricdata.Gauge[float64]:
				points = append(points, values(m.Name, data.DataPoints)...)
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					points = append(points, fmt.Sprintf("%s %s %s %d in %v", m.Name, m.Unit, p.Attributes.Encoded(attribute.DefaultEncoder()), p.Count, p.Sum))
				}
			default:
				t.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return points
}

func values(name string, data []metricdata.DataPoint[float64]) (points []string) {
	for _, p := range data {
		points = append(points, fmt.Sprintf("%s %s %v", name, p.Attributes.Encoded(attribute.DefaultEncoder()), p.Value))
	}
	return points
}

// TestCallersThatJoin: a load is a span of the caller that began it; each caller that
// waits for it has a span of its own, as long as it has waited, and one that was turned
// away an event, with error.type.
func TestCallersThatJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spans := tracetest.NewSpanRecorder()
		provider := trace.NewTracerProvider(trace.WithSpanProcessor(spans))
		telemetry, err := tokenotel.New(tokenotel.Config{TracerProvider: provider})
		if err != nil {
			t.Fatal(err)
		}
		group := tokencache.NewGroup(tokencache.GroupConfig{Observer: telemetry.Observe, MaxQueue: 1})
		defer group.Close()
		var src tokentest.Source[string]
		if _, err := tokencache.New(group, "file", &src, tokencache.Config{MaxLoads: 1}); err != nil {
			t.Fatal(err)
		}
		src.SetLatency(30 * time.Millisecond)
		tracer, traced := provider.Tracer("test"), telemetry.Trace(group)
		ask := func(token tokencache.Token, request string) {
			ctx, span := tracer.Start(t.Context(), request)
			defer span.End()
			traced.Authenticate(ctx, tokentest.Authorization(token))
		}
		token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
		src.SetQuiet(true)
		src.Put(token, "record")
		var callers sync.WaitGroup
		for i := range 3 {
			callers.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				ask(token, fmt.Sprintf("request%d", i))
			})
		}
		for i := range 2 {
			callers.Go(func() {
				time.Sleep(time.Duration(10+i) * time.Millisecond)
				ask(tokentest.NewToken(t, fmt.Sprintf("elastic/fleet-server/other%d", i), ""), fmt.Sprintf("other%d", i))
			})
		}
		callers.Wait()
		ask(token, "hit")
		synctest.Wait()
		requests := make(map[oteltrace.SpanID]string)
		for _, span := range spans.Ended() {
			requests[span.SpanContext().SpanID()] = span.Name()
		}
		var got []string
		for _, span := range spans.Ended() {
			if parent := requests[span.Parent().SpanID()]; parent != "" {
				got = append(got, fmt.Sprint(parent, ": ", span.Name(), " ", span.EndTime().Sub(span.StartTime()), " ", errorType(span.Attributes())))
			}
			for _, event := range span.Events() {
				if event.Name != "exception" {
					got = append(got, fmt.Sprint(span.Name(), ": event ", event.Name, " ", errorType(event.Attributes)))
				}
			}
		}
		slices.Sort(got)
		want := []string{
			"other0: svctoken.load 50ms none", // 30 ms of them for its turn
			"other1: event svctoken.turned_away overloaded",
			"other1: svctoken.wait 0s overloaded",
			"request0: svctoken.load 30ms none",
			"request0: svctoken.wait 30ms none",
			"request1: svctoken.wait 29ms none",
			"request2: svctoken.wait 28ms none",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("spans (-want +got):\n%s", diff)
		}
	})
}

// errorType returns the value of error.type, or none.
func errorType(attrs []attribute.KeyValue) string {
	for _, a := range attrs {
		if a.Key == "error.type" {
			return a.Value.AsString()
		}
	}
	return "none"
}

// BenchmarkHit compares hits of a group that nobody observes with those of one with
// telemetry: they cost the same.
func BenchmarkHit(b *testing.B) {
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("telemetry=%v", with), func(b *testing.B) {
			telemetry, err := tokenotel.New(tokenotel.Config{
				MeterProvider:  metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())),
				TracerProvider: trace.NewTracerProvider(),
			})
			if err != nil {
				b.Fatal(err)
			}
			var cfg tokencache.GroupConfig
			if with {
				cfg.Observer = telemetry.Observe
			}
			group := tokencache.NewGroup(cfg)
			defer group.Close()
			telemetry.Watch("", group)
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
