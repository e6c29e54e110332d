package tokenprom

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/svctoken/svctoken/tokencache"
)

// Config holds the options of a [Collector]. The zero value is the recommended
// production setting.
type Config struct {
	// Labels are added to each metric, to tell groups of one process apart for
	// example. Nil: none.
	Labels prometheus.Labels

	// Buckets are the upper bounds, in seconds, of the histogram of load durations,
	// in increasing order. Nil: from 100 microseconds, an index in memory, to 10
	// seconds, the default timeout.
	Buckets []float64
}

var defaultBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// A Collector is a prometheus.Collector for a group. [New] makes one. It is safe for
// concurrent use by multiple goroutines.
type Collector struct {
	group atomic.Pointer[tokencache.Group]

	authentications, hashing, hashesWaiting *prometheus.Desc
	counters, gauges                        []cacheMetric

	durations                    *prometheus.HistogramVec
	ended, evictions, turnedAway *prometheus.CounterVec
}

var _ prometheus.Collector = (*Collector)(nil)

// A cacheMetric is one number of a cache's counters.
type cacheMetric struct {
	desc *prometheus.Desc
	read func(tokencache.Stats) float64
}

// New returns a collector. Its Observe is for GroupConfig.Observer; the group that is
// made with it is for SetGroup.
func New(cfg Config) *Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("svctoken_"+name, help, labels, cfg.Labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "svctoken_" + name, Help: help, ConstLabels: cfg.Labels}, labels)
	}
	buckets := cfg.Buckets
	if buckets == nil {
		buckets = defaultBuckets
	}
	return &Collector{
		authentications: desc("authentications_total", "Authentications, by how they ended.", "outcome"),
		hashing:         desc("hashing", "Password hashes that are being computed."),
		hashesWaiting:   desc("hashing_waiting", "Loads that wait for their turn to compute a password hash."),
		counters:        counters(desc),
		gauges:          gauges(desc),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "svctoken_load_duration_seconds", ConstLabels: cfg.Labels, Buckets: buckets,
			Help: "How long loads took, waiting for their turn to compute a password hash included.",
		}, []string{"cache", "outcome"}),
		ended:      counter("loads_ended_total", "Loads that ended, by reason; none: the source confirmed the token.", "cache", "reason"),
		evictions:  counter("evictions_total", "Evictions and clearings, by cause.", "cause"),
		turnedAway: counter("turned_away_total", "Authentications that were turned away without asking the source, by reason.", "cache", "reason"),
	}
}

func counters(desc func(name, help string, labels ...string) *prometheus.Desc) []cacheMetric {
	one := func(name, help string, read func(tokencache.Stats) uint64) cacheMetric {
		return cacheMetric{desc("cache_"+name+"_total", help, "cache"), func(st tokencache.Stats) float64 { return float64(read(st)) }}
	}
	return []cacheMetric{
		one("hits", "Authentications confirmed from memory.", func(st tokencache.Stats) uint64 { return st.Hits }),
		one("mismatches", "Wrong secrets for remembered tokens, refused from memory.", func(st tokencache.Stats) uint64 { return st.Mismatches }),
		one("absent", "Authentications refused from memory, as the source had said that it does not hold the token.", func(st tokencache.Stats) uint64 { return st.Absent }),
		one("misses", "Authentications that waited for a load.", func(st tokencache.Stats) uint64 { return st.Misses }),
		one("loads", "Loads begun.", func(st tokencache.Stats) uint64 { return st.Loads }),
		one("load_refusals", "Loads in which the source did not confirm the token.", func(st tokencache.Stats) uint64 { return st.Refusals }),
		one("load_errors", "Loads that failed.", func(st tokencache.Stats) uint64 { return st.Errors }),
		one("loads_discarded", "Loads that were not stored, as an eviction came first or they took too long.", func(st tokencache.Stats) uint64 { return st.Discarded }),
		one("stored", "Verdicts stored.", func(st tokencache.Stats) uint64 { return st.Stored }),
		one("refreshed", "Verdicts stored ahead of an expiry.", func(st tokencache.Stats) uint64 { return st.Refreshed }),
		one("stale", "Authentications confirmed past the time, as the source did not answer.", func(st tokencache.Stats) uint64 { return st.Stale }),
		one("evicted", "Entries that evictions and clearings removed.", func(st tokencache.Stats) uint64 { return st.Evicted }),
		one("expired", "Entries removed as they were past their time.", func(st tokencache.Stats) uint64 { return st.Expired }),
		one("displaced", "Entries removed to make room.", func(st tokencache.Stats) uint64 { return st.Displaced }),
	}
}

func gauges(desc func(name, help string, labels ...string) *prometheus.Desc) []cacheMetric {
	one := func(name, help string, read func(tokencache.Stats) int) cacheMetric {
		return cacheMetric{desc("cache_"+name, help, "cache"), func(st tokencache.Stats) float64 { return float64(read(st)) }}
	}
	return []cacheMetric{
		one("entries", "Verdicts that are remembered.", func(st tokencache.Stats) int { return st.Entries }),
		one("loading", "Loads that are reading.", func(st tokencache.Stats) int { return st.Loading }),
		one("loads_waiting", "Loads that wait for their turn to read.", func(st tokencache.Stats) int { return st.Waiting }),
		one("strays", "Loads that run on, though they have taken too long or the cache is closed.", func(st tokencache.Stats) int { return st.Strays }),
	}
}

// SetGroup says whose counters to read. Until then the collector has only what it
// has observed.
func (c *Collector) SetGroup(group *tokencache.Group) { c.group.Store(group) }

// Observe counts an event, for GroupConfig.Observer.
func (c *Collector) Observe(_ context.Context, ev tokencache.Event) {
	switch ev.Kind {
	case tokencache.EventLoad:
		c.durations.WithLabelValues(ev.Cache, outcome(ev)).Observe(ev.Duration.Seconds())
		c.ended.WithLabelValues(ev.Cache, ev.Reason.String()).Inc()
	case tokencache.EventEviction:
		c.evictions.WithLabelValues(ev.Cause.String()).Inc()
	case tokencache.EventOverload:
		c.turnedAway.WithLabelValues(ev.Cache, ev.Reason.String()).Inc()
	}
}

func outcome(ev tokencache.Event) string {
	switch {
	case ev.Err != nil:
		return "no_answer"
	case ev.Reason != 0:
		return "refused"
	default:
		return "confirmed"
	}
}

// The labels that the observed counters can have.
var (
	causes  = []tokencache.Cause{tokencache.CauseAsked, tokencache.CauseSource, tokencache.CauseState, tokencache.CauseNode, tokencache.CauseClosed}
	endings = []tokencache.Reason{0, tokencache.ReasonUnknownToken, tokencache.ReasonWrongSecret, tokencache.ReasonDisabled, tokencache.ReasonExpired,
		tokencache.ReasonSourceFailed, tokencache.ReasonSourceTimeout, tokencache.ReasonSourcePanicked, tokencache.ReasonOverloaded,
		tokencache.ReasonGaveUp, tokencache.ReasonClosed}
	rejected = []tokencache.Reason{tokencache.ReasonUnavailable, tokencache.ReasonOverloaded}
)

// begin has every counter begin at zero. A series that appears with its first event
// has no value before, and rate and increase do not see that event: an alert on the
// first panic of a source would stay silent.
func (c *Collector) begin(group *tokencache.Group) {
	for _, cause := range causes {
		c.evictions.WithLabelValues(cause.String())
	}
	for name := range group.Caches() {
		for _, reason := range endings {
			c.ended.WithLabelValues(name, reason.String())
		}
		for _, reason := range rejected {
			c.turnedAway.WithLabelValues(name, reason.String())
		}
	}
}

// Describe sends the descriptions of all metrics.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.authentications
	ch <- c.hashing
	ch <- c.hashesWaiting
	for _, m := range append(c.counters, c.gauges...) {
		ch <- m.desc
	}
	for _, v := range c.observed() {
		v.Describe(ch)
	}
}

// Collect sends the metrics as they are now. It waits for no source.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	group := c.group.Load()
	if group != nil {
		c.begin(group)
	}
	for _, v := range c.observed() {
		v.Collect(ch)
	}
	if group == nil {
		return
	}
	st := group.Stats()
	for _, m := range []struct {
		outcome string
		n       uint64
	}{
		{"confirmed", st.Confirmed}, {"refused", st.Refused}, {"not_service_token", st.NotServiceTokens},
		{"overloaded", st.Overloaded}, {"closed", st.Closed}, {"no_answer", st.NoAnswer},
	} {
		ch <- prometheus.MustNewConstMetric(c.authentications, prometheus.CounterValue, float64(m.n), m.outcome)
	}
	ch <- prometheus.MustNewConstMetric(c.hashing, prometheus.GaugeValue, float64(st.Hashing))
	ch <- prometheus.MustNewConstMetric(c.hashesWaiting, prometheus.GaugeValue, float64(st.Waiting))
	for name, st := range group.Caches() {
		for _, m := range c.counters {
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, m.read(st), name)
		}
		for _, m := range c.gauges {
			ch <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, m.read(st), name)
		}
	}
}

func (c *Collector) observed() []prometheus.Collector {
	return []prometheus.Collector{c.durations, c.ended, c.evictions, c.turnedAway}
}
