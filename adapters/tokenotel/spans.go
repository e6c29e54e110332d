package tokenotel

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/svctoken/svctoken/tokencache"
)

func errorType(r tokencache.Reason) attribute.KeyValue {
	return attribute.String("error.type", r.String())
}

// about returns the attributes of a span for a load or an overload.
func about(ev tokencache.Event) []attribute.KeyValue {
	attrs := []attribute.KeyValue{
		attribute.String("svctoken.cache", ev.Cache), attribute.String("svctoken.reason", ev.Reason.String()),
		attribute.String("svctoken.token", ev.Token.String()),
	}
	if ev.Err != nil { // a refusal is not an error of this program
		attrs = append(attrs, errorType(ev.Reason))
	}
	return attrs
}

// loaded records the duration of a load that has just ended, and makes its span.
func (t *Telemetry) loaded(ctx context.Context, ev tokencache.Event) {
	outcome := "confirmed"
	switch {
	case ev.Err != nil:
		outcome = "no_answer"
	case ev.Reason != 0:
		outcome = "refused"
	}
	attrs := []attribute.KeyValue{attribute.String("cache", ev.Cache), attribute.String("outcome", outcome)}
	if ev.Err != nil {
		attrs = append(attrs, errorType(ev.Reason))
	}
	t.duration.Record(ctx, ev.Duration.Seconds(), metric.WithAttributes(attrs...))

	end := time.Now()
	_, span := t.tracer.Start(ctx, "svctoken.load", trace.WithTimestamp(end.Add(-ev.Duration)), trace.WithAttributes(about(ev)...))
	fail(span, ev.Reason, ev.Err)
	span.End(trace.WithTimestamp(end))
}

// fail marks a span as failed if there was no answer.
func fail(span trace.Span, reason tokencache.Reason, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, reason.String())
	}
}

// evicted makes the span of an eviction, whose duration is too short to matter.
func (t *Telemetry) evicted(ctx context.Context, ev tokencache.Event) {
	const most = 10
	attrs := []attribute.KeyValue{attribute.String("svctoken.cause", ev.Cause.String())}
	if ev.Cache != "" {
		attrs = append(attrs, attribute.String("svctoken.cache", ev.Cache))
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
	_, span := t.tracer.Start(ctx, "svctoken.eviction", trace.WithAttributes(attrs...))
	span.End()
}
