// Package tokenotel shows a tokencache.Group, its files and indexes, and its place in a
// fleet, to OpenTelemetry: metrics of what they count, and spans of what takes time.
//
// For most uses, make it the group's observer, and watch the group:
//
//	telemetry, err := tokenotel.New(tokenotel.Config{})
//	...
//	defer telemetry.Close()
//	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: telemetry.Observe})
//	telemetry.Watch("", group)
//
// # Metrics
//
// The metrics are those of package tokenmetrics, with the same attributes:
// svctoken.cache.hits is svctoken_cache_hits_total in Prometheus. So the alerts and the
// dashboard beside tokenprom also serve hosts that export to Prometheus through
// OpenTelemetry. One metric has one more attribute: in svctoken.load.duration, a load
// that failed has error.type, as the conventions of OpenTelemetry require.
//
// # Spans
//
// A load and an eviction are a span each, svctoken.load and svctoken.eviction, below the
// span of the caller that caused them. A load that got no answer has an error status and
// error.type, the reason; a refusal is no error. An authentication that was turned away
// is an event, svctoken.turned_away, of its caller's span. A hit has no span and costs
// nothing extra: its counter is read when the metrics are collected.
//
// Many callers may share a load, whose span is in the first caller's trace alone. Give
// [Telemetry.Trace] of the group to the middleware in the group's place: then each caller
// has a span svctoken.wait of its own.
//
// No attribute has a secret. Spans name the token; metrics do not, as what clients
// send must not multiply them.
package tokenotel
