package tokenotel

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
)

const scope = "github.com/svctoken/svctoken/adapters/tokenotel"

// Config holds the options of a [Telemetry]. The zero value uses the providers that
// are registered globally.
type Config struct {
	MeterProvider  metric.MeterProvider // nil: otel.GetMeterProvider
	TracerProvider trace.TracerProvider // nil: otel.GetTracerProvider
}

// A Telemetry has the instruments and the tracer for a group. [New] makes one. It is
// safe for concurrent use by multiple goroutines.
type Telemetry struct {
	// Observer is embedded for its methods: Watch and the like choose what the metrics
	// show.
	*tokenmetrics.Observer

	tracer   trace.Tracer
	duration metric.Float64Histogram
	stop     func()
}

// New returns a Telemetry. Its Observe is for GroupConfig.Observer. The metrics are read
// whenever the provider collects, until Close. The error is the provider's, for an
// instrument that it refuses.
func New(cfg Config) (*Telemetry, error) {
	if cfg.MeterProvider == nil {
		cfg.MeterProvider = otel.GetMeterProvider()
	}
	if cfg.TracerProvider == nil {
		cfg.TracerProvider = otel.GetTracerProvider()
	}
	t := &Telemetry{Observer: tokenmetrics.New(tokenmetrics.Config{}), tracer: cfg.TracerProvider.Tracer(scope)}
	meter := cfg.MeterProvider.Meter(scope)
	in, err := t.instruments(meter)
	if err != nil {
		return nil, err
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		t.read(o, in)
		return nil
	}, in.all...)
	if err != nil {
		return nil, err
	}
	t.stop = sync.OnceFunc(func() { registration.Unregister() })
	return t, nil
}

// Close stops the reading of metrics. It may be called more than once.
func (t *Telemetry) Close() { t.stop() }

// instruments are those by which the metrics are observed, by the metric's name.
type instruments struct {
	byName map[string]metric.Float64Observable
	all    []metric.Observable
}

// instruments makes one instrument for each metric.
func (t *Telemetry) instruments(meter metric.Meter) (instruments, error) {
	in := instruments{byName: make(map[string]metric.Float64Observable)}
	var errs []error
	for f := range t.All() {
		name, help, unit := "svctoken."+f.Name, metric.WithDescription(f.Help), metric.WithUnit(units[f.Unit])
		var made metric.Float64Observable
		var err error
		switch f.Kind {
		case tokenmetrics.Histogram:
			t.duration, err = meter.Float64Histogram(name, help, unit,
				metric.WithExplicitBucketBoundaries(.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10))
		case tokenmetrics.Counter:
			made, err = meter.Float64ObservableCounter(name, help, unit)
		default:
			made, err = meter.Float64ObservableGauge(name, help, unit)
		}
		errs = append(errs, err)
		if made != nil {
			in.byName[f.Name] = made
			in.all = append(in.all, made)
		}
	}
	return in, errors.Join(errs...)
}

// units maps the units of tokenmetrics to OpenTelemetry's.
var units = map[string]string{"seconds": "s"}

// read observes every metric as it is now.
func (t *Telemetry) read(o metric.Observer, in instruments) {
	for f := range t.All() {
		instrument, ok := in.byName[f.Name]
		if !ok {
			continue // the histogram is recorded as the loads end
		}
		for _, p := range f.Points {
			attrs := make([]attribute.KeyValue, 0, len(p.Labels))
			for _, l := range p.Labels {
				attrs = append(attrs, attribute.String(l.Name, l.Value))
			}
			o.ObserveFloat64(instrument, p.Value, metric.WithAttributes(attrs...))
		}
	}
}

// Observe records an event, for GroupConfig.Observer.
func (t *Telemetry) Observe(ctx context.Context, ev tokencache.Event) {
	t.Observer.Observe(ctx, ev)
	switch ev.Kind {
	case tokencache.EventLoad:
		t.loaded(ctx, ev)
	case tokencache.EventEviction:
		t.evicted(ctx, ev)
	case tokencache.EventOverload:
		trace.SpanFromContext(ctx).AddEvent("svctoken.turned_away", trace.WithAttributes(about(ev)...))
	}
}
