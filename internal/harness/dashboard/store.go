package dashboard

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// ScrapeEvery is the time between two scrapes.
const ScrapeEvery = 15 * time.Second

// A Store keeps the scraped samples, and answers queries. The zero Store is empty.
type Store struct {
	series map[string]*series
	order  []string // sorted, when a query asks
}

type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

type sample struct {
	at    int64 // Unix milliseconds
	value float64
}

func (s sample) ST() int64                     { return 0 }
func (s sample) T() int64                      { return s.at }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// Scrape adds everything that the gatherer has, as of a time.
func (s *Store) Scrape(from prometheus.Gatherer, at time.Time) error {
	families, err := from.Gather()
	if err != nil {
		return err
	}
	for _, family := range families {
		name := family.GetName()
		for _, m := range family.GetMetric() {
			pairs := []string{"job", "authserver", "instance", "auth1"}
			for _, label := range m.GetLabel() {
				pairs = append(pairs, label.GetName(), label.GetValue())
			}
			switch {
			case m.GetHistogram() != nil:
				h := m.GetHistogram()
				for _, b := range h.GetBucket() {
					s.add(name+"_bucket", append(pairs, "le", number(b.GetUpperBound())), at, float64(b.GetCumulativeCount()))
				}
				s.add(name+"_bucket", append(pairs, "le", "+Inf"), at, float64(h.GetSampleCount()))
				s.add(name+"_sum", pairs, at, h.GetSampleSum())
				s.add(name+"_count", pairs, at, float64(h.GetSampleCount()))
			case m.GetGauge() != nil:
				s.add(name, pairs, at, m.GetGauge().GetValue())
			default:
				s.add(name, pairs, at, m.GetCounter().GetValue())
			}
		}
	}
	return nil
}

func (s *Store) add(name string, pairs []string, at time.Time, value float64) {
	all := labels.FromStrings(append([]string{"__name__", name}, pairs...)...)
	if s.series == nil {
		s.series = make(map[string]*series)
	}
	key := all.String()
	if s.series[key] == nil {
		s.series[key] = &series{labels: all}
		s.order = append(s.order, key)
	}
	s.series[key].samples = append(s.series[key].samples, sample{at.UnixMilli(), value})
}

// Run runs a query over a time, with a point for each two scrapes.
func (s *Store) Run(ctx context.Context, query string, from, to time.Time) (promql.Matrix, error) {
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 10_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute, Parser: parser.NewParser(parser.Options{}),
	})
	defer engine.Close()
	q, err := engine.NewRangeQuery(ctx, s, nil, query, from, to, 2*ScrapeEvery)
	if err != nil {
		return nil, err
	}
	defer q.Close()
	matrix, err := q.Exec(ctx).Matrix()
	return slices.Clone(matrix), err
}

// Querier returns the querier that the engine reads from.
func (s *Store) Querier(int64, int64) (storage.Querier, error) {
	slices.Sort(s.order)
	return querier{s}, nil
}

type querier struct{ *Store }

func (querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (querier) Close() error { return nil }

// Select returns the series that match, sorted.
func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	set := &seriesSet{next: -1}
	for _, key := range q.order {
		one := q.series[key]
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(one.labels.Get(m.Name)) }) {
			set.all = append(set.all, storage.NewListSeries(one.labels, one.samples))
		}
	}
	return set
}

type seriesSet struct {
	all  []storage.Series
	next int
}

func (s *seriesSet) Next() bool                        { s.next++; return s.next < len(s.all) }
func (s *seriesSet) At() storage.Series                { return s.all[s.next] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }
