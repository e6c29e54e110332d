package tokenotel_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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

	tokenotel "github.com/svctoken/svctoken/adapters/tokenotel"
	"github.com/svctoken/svctoken/evict"
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
		synctest.Wait() // the load is told after its callers have their answer
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
			"svctoken.load 30ms true cache=file reason=source_failed token=elastic/fleet-server/token1",
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
	registration, err := telemetry.Watch(group)
	if err != nil {
		t.Fatal(err)
	}
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

	got := collect(t, reader)
	for _, want := range []string{
		"svctoken.authentications {authentication} svctoken.outcome=confirmed 2",
		"svctoken.authentications {authentication} svctoken.outcome=refused 1",
		"svctoken.cache.lookups {lookup} svctoken.cache=file,svctoken.result=hit 1",
		"svctoken.cache.lookups {lookup} svctoken.cache=file,svctoken.result=mismatch 1",
		"svctoken.cache.lookups {lookup} svctoken.cache=file,svctoken.result=miss 1",
		"svctoken.cache.removals {entry} svctoken.cache=file,svctoken.removal=evicted 0",
		"svctoken.cache.entries {entry} svctoken.cache=file 1",
		"svctoken.load.active {load} svctoken.cache=file 0",
		"svctoken.load.strays {load} svctoken.cache=file 0",
		"svctoken.hashing {hash}  0",
		"svctoken.load.duration s svctoken.cache=other,svctoken.reason=none 1 in 1",
		"svctoken.evictions {eviction} svctoken.cause=source 1",
		"svctoken.turned_away {authentication} svctoken.cache=file,svctoken.reason=overloaded 1",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("there is no %s", want)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(got, "\n"))
	}
	if err := registration.Unregister(); err != nil {
		t.Fatal(err)
	}
}

// collect returns each point as name, unit, attributes and value.
func collect(t *testing.T, reader metric.Reader) (points []string) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					points = append(points, fmt.Sprintf("%s %s %s %d", m.Name, m.Unit, p.Attributes.Encoded(attribute.DefaultEncoder()), p.Value))
				}
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
			if _, err := telemetry.Watch(group); err != nil {
				b.Fatal(err)
			}
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
