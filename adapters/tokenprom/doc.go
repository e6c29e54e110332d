// Package tokenprom shows a tokencache.Group to Prometheus.
//
// For most uses, make the collector the group's observer, and register it:
//
//	collector := tokenprom.New(tokenprom.Config{})
//	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: collector.Observe})
//	collector.SetGroup(group)
//	prometheus.MustRegister(collector)
//
// Counters and gauges are the group's own, read at each scrape; a hit costs nothing
// more. The observer adds what has no counter: how long loads take, why they end,
// and why entries are evicted.
//
// The labels are the names of the caches, and words from short fixed lists: nothing
// that a client sends becomes a label. Every counter is there from the first scrape
// after SetGroup, at zero, so that rate and increase see its first event.
//
// The file dashboard.json is a dashboard for Grafana. docs/dashboard.svg shows what
// its queries return; internal/harness/dashboard runs them in the tests.
package tokenprom
