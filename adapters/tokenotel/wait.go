package tokenotel

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/svctoken/svctoken/tokencache"
)

// A Traced is a group whose callers' waits are spans. [Telemetry.Trace] makes one. It
// takes a group's place in tokenhttp.Wrap and in the interceptors of tokengrpc. It is
// safe for concurrent use by multiple goroutines.
type Traced struct {
	telemetry *Telemetry
	group     *tokencache.Group
}

// Trace returns the group with a span, svctoken.wait, for each authentication that was
// confirmed by a load or got no answer. Many callers may share a load, whose span is in
// the first caller's trace alone.
func (t *Telemetry) Trace(group *tokencache.Group) Traced { return Traced{t, group} }

// Authenticate is tokencache.Group.Authenticate.
func (t Traced) Authenticate(ctx context.Context, authorization string) (tokencache.Verdict[any], error) {
	begin := time.Now()
	verdict, err := t.group.Authenticate(ctx, authorization)
	if err == nil && verdict.FromMemory {
		return verdict, nil
	}
	noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err)
	switch {
	case err == nil:
		t.span(ctx, begin, attribute.String("svctoken.cache", verdict.Cache), attribute.String("svctoken.token", verdict.Token.String())).End()
	case ok:
		span := t.span(ctx, begin, attribute.String("svctoken.cache", noAnswer.Cache), attribute.String("svctoken.token", noAnswer.Token.String()), errorType(noAnswer.Reason))
		fail(span, noAnswer.Reason, err)
		span.End()
	}
	return verdict, err
}

func (t Traced) span(ctx context.Context, begin time.Time, attrs ...attribute.KeyValue) trace.Span {
	_, span := t.telemetry.tracer.Start(ctx, "svctoken.wait", trace.WithTimestamp(begin), trace.WithAttributes(attrs...))
	return span
}
