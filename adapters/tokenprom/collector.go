package tokenprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
)

// Config holds the options of a [Collector]. The zero value is the recommended
// production setting.
type Config = tokenmetrics.Config

// A Collector is a prometheus.Collector with the metrics of an observer, whose methods
// say what to watch. [New] makes one. It is safe for concurrent use by multiple
// goroutines.
//
// For labels on each metric, register it through prometheus.WrapRegistererWith.
type Collector struct {
	// Observer is embedded for its methods: give Observe to GroupConfig.Observer, and the
	// group to Watch.
	*tokenmetrics.Observer
}

var _ prometheus.Collector = (*Collector)(nil)

// New returns a collector.
func New(cfg Config) *Collector { return &Collector{tokenmetrics.New(cfg)} }

// Describe sends nothing: the labels depend on what is watched, and Watch may be called
// after the registration.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics as they are now. It waits for no source, no file and no
// database.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	for f := range c.All() {
		for _, p := range f.Points {
			ch <- metric(f, p)
		}
	}
}

func metric(f tokenmetrics.Family, p tokenmetrics.Point) prometheus.Metric {
	var names, values []string
	for _, l := range p.Labels {
		names, values = append(names, l.Name), append(values, l.Value)
	}
	desc := prometheus.NewDesc(f.FullName(), f.Help, names, nil)
	switch f.Kind {
	case tokenmetrics.Histogram:
		buckets := make(map[float64]uint64, len(p.Buckets))
		last := p.Buckets[len(p.Buckets)-1]
		for _, b := range p.Buckets[:len(p.Buckets)-1] {
			buckets[b.Bound] = b.Count
		}
		return prometheus.MustNewConstHistogram(desc, last.Count, p.Value, buckets, values...)
	case tokenmetrics.Counter:
		return prometheus.MustNewConstMetric(desc, prometheus.CounterValue, p.Value, values...)
	default:
		return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, p.Value, values...)
	}
}
