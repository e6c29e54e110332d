// Package tokenprom shows a tokencache.Group, its files and indexes, and its place in a
// fleet, to Prometheus' own client library.
//
// For most uses, make the collector the group's observer, and register it:
//
//	collector := tokenprom.New(tokenprom.Config{})
//	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: collector.Observe})
//	collector.Watch("", group)
//	prometheus.MustRegister(collector)
//
// The metrics are those of package tokenmetrics, whose handler a server without a
// registry can use as it is.
//
// The file dashboard.json is a dashboard for Grafana, and alerts.yml are rules for
// Prometheus; docs/operations.md says what to do when one fires. docs/dashboard.svg shows
// what the dashboard's queries return.
package tokenprom
