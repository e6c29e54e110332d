package tokenmetrics

import (
	"cmp"
	"slices"
	"time"
)

// A metric is a Family without points. Each is defined once, beside the code that reads
// it.
type metric struct {
	family Family
	at     int // its place in defined
}

// defined are all metrics, in the order in which they are shown. It is immutable after
// the package's initialization.
var defined []*metric

func define(name, unit, help string, kind Kind) *metric {
	m := &metric{Family{Name: name, Unit: unit, Help: help, Kind: kind}, len(defined)}
	defined = append(defined, m)
	return m
}

// A collection is the metrics at one moment.
type collection struct {
	name     string // of the group; empty: it has no label
	now      time.Time
	families []Family
}

func newCollection(name string) *collection {
	c := &collection{name: name, now: time.Now()}
	for _, m := range defined {
		c.families = append(c.families, m.family)
	}
	return c
}

// add adds a series. Labels without a value are left out.
func (c *collection) add(m *metric, value float64, labels ...Label) {
	c.addPoint(m, Point{Labels: labels, Value: value})
}

func (c *collection) addPoint(m *metric, p Point) {
	p.Labels = append(slices.Clone(p.Labels), Label{"group", c.name})
	p.Labels = slices.DeleteFunc(p.Labels, func(l Label) bool { return l.Value == "" })
	slices.SortFunc(p.Labels, func(a, b Label) int { return cmp.Compare(a.Name, b.Name) })
	f := &c.families[m.at]
	f.Points = append(f.Points, p)
}

// flag returns a bool as a metric shows it.
func flag(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// timestamp returns a time as a metric shows it: in seconds since 1970.
func timestamp(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
