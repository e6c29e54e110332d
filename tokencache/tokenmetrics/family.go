package tokenmetrics

// A Family is one metric with all of its series, as they are at one moment.
type Family struct {
	// Name is the metric's name in words that dots separate: "cache.hits". Prometheus
	// has underscores in their place, svctoken_ before them, and then the unit and, of a
	// counter, _total.
	Name   string
	Unit   string // "seconds", or empty: a number of things
	Help   string // a sentence
	Kind   Kind
	Points []Point // no two have the same labels; empty: there is nothing to show yet
}

// A Kind says what the numbers of a [Family] mean.
type Kind int

const (
	Counter   Kind = iota // grows, from zero at the process's start
	Gauge                 // goes up and down
	Histogram             // counts durations by their size
)

// String returns the word that Prometheus uses for the kind.
func (k Kind) String() string {
	switch k {
	case Counter:
		return "counter"
	case Gauge:
		return "gauge"
	case Histogram:
		return "histogram"
	default:
		return "unknown"
	}
}

// A Point is one series of a [Family].
type Point struct {
	Labels  []Label // sorted by name
	Value   float64 // of a histogram: the sum of what it has counted
	Buckets []Bucket
}

// A Label says which of the series this is.
type Label struct{ Name, Value string }

// A Bucket is how many durations a histogram has counted that are not above its bound,
// those of the smaller buckets included. The last one's bound is infinite.
type Bucket struct {
	Bound float64 // seconds
	Count uint64
}

// FullName returns the metric's name in Prometheus.
func (f Family) FullName() string {
	name := []byte("svctoken_" + f.Name)
	for i, c := range name {
		if c == '.' {
			name[i] = '_'
		}
	}
	if f.Unit != "" {
		name = append(append(name, '_'), f.Unit...)
	}
	if f.Kind == Counter {
		name = append(name, "_total"...)
	}
	return string(name)
}
