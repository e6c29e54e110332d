// Package tokenmetrics counts what an operator must see of a tokencache.Group, of its
// files and indexes, and of its place in a fleet, and shows it to Prometheus. It needs
// nothing but the standard library.
//
// For most uses, make it the group's observer, say what to watch, and serve it:
//
//	metrics := tokenmetrics.New(tokenmetrics.Config{})
//	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: metrics.Observe})
//	metrics.Watch("", group)
//	metrics.WatchFile("file", file)
//	mux.Handle("GET /metrics", tokenmetrics.Handler(metrics))
//
// A server that has a registry of Prometheus' own client uses adapters/tokenprom, and
// one that exports through OpenTelemetry uses adapters/tokenotel. Both show the metrics
// of this package, under the same names: the dashboard and the alerts beside tokenprom
// are for all three.
//
// # Metrics
//
// All names begin with svctoken_. Counters and gauges of the group are its own, read when
// somebody asks; a hit costs nothing more. The labels are names that the host has given,
// and words from short fixed lists: nothing that a client sends becomes a label. Every
// counter that an alert uses exists from the start, at zero, so that rate and increase
// see its first event.
//
//	authentications_total, hashing, hashing_waiting       the group
//	cache_…                                               each cache, by cache
//	load_duration_seconds, loads_ended_total              loads, by outcome and by reason
//	evictions_total, turned_away_total                    by cause, by reason
//	changes_total                                         of tokens, that the host reports
//	file_ok, file_missing, file_tokens, file_warnings,    each file, by file
//	file_loaded_timestamp_seconds,
//	file_changed_timestamp_seconds
//	index_ok, index_health, index_revision,               each index, by index
//	index_polled_timestamp_seconds
//	fleet_serving, fleet_lease_seconds,                   the node's place in its fleet
//	fleet_lease_left_seconds, fleet_applied,
//	fleet_members, fleet_renewal_age_seconds,
//	fleet_events_total
//
// # Concurrency
//
// All types are safe for concurrent use by multiple goroutines, and none starts a
// goroutine. Nothing here waits for a source, a file or a database.
package tokenmetrics
