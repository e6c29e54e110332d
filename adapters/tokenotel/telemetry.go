package tokenotel

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/svctoken/svctoken/tokencache"
)

const scope = "github.com/svctoken/svctoken/adapters/tokenotel"

// Config holds the options of a [Telemetry]. The zero value uses the providers that
// are registered globally.
type Config struct {
	MeterProvider  metric.MeterProvider // nil: otel.GetMeterProvider
	TracerProvider trace.TracerProvider // nil: otel.GetTracerProvider
}

// A Telemetry has the instruments for a group. [New] makes one. It is safe for
// concurrent use by multiple goroutines.
type Telemetry struct {
	meter  metric.Meter
	tracer trace.Tracer

	duration              metric.Float64Histogram
	evictions, turnedAway metric.Int64Counter
}

// New returns a Telemetry. Its Observe is for GroupConfig.Observer. The error is what
// the provider says of an instrument.
func New(cfg Config) (*Telemetry, error) {
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = otel.GetMeterProvider()
	}
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	t := &Telemetry{meter: cfg.MeterProvider.Meter(scope), tracer: cfg.TracerProvider.Tracer(scope)}
	var errs [3]error
	t.duration, errs[0] = t.meter.Float64Histogram("svctoken.load.duration", metric.WithUnit("s"),
		metric.WithDescription("How long loads took, waiting for their turn to compute a password hash included."),
		metric.WithExplicitBucketBoundaries(.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10))
	t.evictions, errs[1] = t.meter.Int64Counter("svctoken.evictions", metric.WithUnit("{eviction}"),
		metric.WithDescription("Evictions and clearings, by cause."))
	t.turnedAway, errs[2] = t.meter.Int64Counter("svctoken.turned_away", metric.WithUnit("{authentication}"),
		metric.WithDescription("Authentications that were turned away without asking the source."))
	return t, errors.Join(errs[:]...)
}

func cacheKey(name string) attribute.KeyValue { return attribute.String("svctoken.cache", name) }
func reasonKey(r tokencache.Reason) attribute.KeyValue {
	return attribute.String("svctoken.reason", r.String())
}

// Observe notes an event, for GroupConfig.Observer.
func (t *Telemetry) Observe(ctx context.Context, ev tokencache.Event) {
	switch ev.Kind {
	case tokencache.EventLoad:
		t.duration.Record(ctx, ev.Duration.Seconds(), metric.WithAttributes(cacheKey(ev.Cache), reasonKey(ev.Reason)))
		t.loadSpan(ctx, ev)
	case tokencache.EventEviction:
		t.evictions.Add(ctx, 1, metric.WithAttributes(attribute.String("svctoken.cause", ev.Cause.String())))
		t.evictionSpan(ctx, ev)
	case tokencache.EventOverload:
		t.turnedAway.Add(ctx, 1, metric.WithAttributes(cacheKey(ev.Cache), reasonKey(ev.Reason)))
	}
}

// loadSpan makes the span of a load that has just ended.
func (t *Telemetry) loadSpan(ctx context.Context, ev tokencache.Event) {
	end := time.Now()
	_, span := t.tracer.Start(ctx, "svctoken.load", trace.WithTimestamp(end.Add(-ev.Duration)), trace.WithSpanKind(trace.SpanKindInternal),
		trace.WithAttributes(cacheKey(ev.Cache), reasonKey(ev.Reason), attribute.String("svctoken.token", ev.Token.String())))
	if ev.Err != nil { // a refusal is no error of ours
		span.RecordError(ev.Err)
		span.SetStatus(codes.Error, ev.Reason.String())
	}
	span.End(trace.WithTimestamp(end))
}

// evictionSpan makes the span of an eviction, which takes no time worth telling.
func (t *Telemetry) evictionSpan(ctx context.Context, ev tokencache.Event) {
	const most = 10
	attrs := []attribute.KeyValue{attribute.String("svctoken.cause", ev.Cause.String())}
	if ev.Cache != "" {
		attrs = append(attrs, cacheKey(ev.Cache))
	}
	total := 0
	for _, n := range ev.Evicted {
		total += n
	}
	var selectors []string
	for _, sel := range ev.Selectors[:min(most, len(ev.Selectors))] {
		selectors = append(selectors, sel.String())
	}
	attrs = append(attrs, attribute.Int("svctoken.evicted", total), attribute.StringSlice("svctoken.selectors", selectors))
	_, span := t.tracer.Start(ctx, "svctoken.eviction", trace.WithSpanKind(trace.SpanKindInternal), trace.WithAttributes(attrs...))
	span.End()
}
