package tokenmetrics

import (
	"cmp"
	"slices"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/tokencache"
)

var (
	loadDuration = define("load.duration", "seconds", "How long loads took, waiting for their turn to compute a password hash included.", Histogram)
	loadsEnded   = define("loads_ended", "", "Loads that ended, by reason; none: the source confirmed the token.", Counter)
	evictions    = define("evictions", "", "Evictions and clearings, by cause.", Counter)
	turnedAway   = define("turned_away", "", "Authentications that were turned away without asking the source, by reason.", Counter)
	changes      = define("changes", "", "Changes of tokens that somebody has asked for, by what came of them.", Counter)
	fleetEvents  = define("fleet.events", "", "What has happened to the node, by kind of event.", Counter)
)

// A counts has the counters of events.
type counts map[series]uint64

// A series is a metric with the values of its labels. The metric has the labels' names:
// see labels.
type series struct {
	metric        *metric
	owner, detail string
}

func (s series) labels() []Label {
	switch s.metric {
	case evictions:
		return []Label{{"cause", s.detail}}
	case fleetEvents:
		return []Label{{"event", s.detail}}
	case changes:
		return []Label{{"change", s.owner}, {"outcome", s.detail}}
	default:
		return []Label{{"cache", s.owner}, {"reason", s.detail}}
	}
}

// A loadKind is the key by which the durations of loads are told apart.
type loadKind struct{ cache, outcome string }

func (k loadKind) compare(other loadKind) int {
	return cmp.Or(cmp.Compare(k.cache, other.cache), cmp.Compare(k.outcome, other.outcome))
}

// A histogram counts durations, each in the first bucket whose bound it does not exceed.
type histogram struct {
	sum    time.Duration
	counts []uint64
}

func (o *Observer) durationLocked(kind loadKind, took time.Duration) {
	h := o.loads[kind]
	if h == nil {
		h = &histogram{counts: make([]uint64, len(o.bounds))}
		o.loads[kind] = h
	}
	h.sum += took
	i, _ := slices.BinarySearch(o.bounds, took.Seconds())
	h.counts[i]++
}

// point returns the histogram as a metric shows it: each bucket includes the smaller
// ones.
func (h *histogram) point(kind loadKind, bounds []float64) Point {
	p := Point{Labels: []Label{{"cache", kind.cache}, {"outcome", kind.outcome}}, Value: h.sum.Seconds()}
	total := uint64(0)
	for i, n := range h.counts {
		total += n
		p.Buckets = append(p.Buckets, Bucket{bounds[i], total})
	}
	return p
}

// countsLocked adds the counters of events.
func (o *Observer) countsLocked(c *collection, group *tokencache.Group) {
	if group != nil {
		o.beginLocked(group)
	}
	keys := make([]series, 0, len(o.counts))
	for key := range o.counts {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b series) int {
		return cmp.Or(cmp.Compare(a.owner, b.owner), cmp.Compare(a.detail, b.detail))
	})
	for _, key := range keys {
		c.add(key.metric, float64(o.counts[key]), key.labels()...)
	}
	kinds := make([]loadKind, 0, len(o.loads))
	for kind := range o.loads {
		kinds = append(kinds, kind)
	}
	slices.SortFunc(kinds, loadKind.compare)
	for _, kind := range kinds {
		c.addPoint(loadDuration, o.loads[kind].point(kind, o.bounds))
	}
}

// usualChanges are the words that the documentation of ObserveChange lists.
var usualChanges = []string{"create", "delete", "rotate", "enable", "disable", "expire", "evict"}

// beginLocked makes every counter begin at zero. A series that appears with its first
// event has no value before, and rate and increase do not see that event: an alert on the
// first panic of a source would stay silent.
func (o *Observer) beginLocked(group *tokencache.Group) {
	for _, cause := range words(tokencache.Cause.String) {
		o.counts[series{evictions, "", cause}] += 0
	}
	for _, change := range usualChanges {
		o.counts[series{changes, change, "failed"}] += 0
		o.counts[series{changes, change, "unconfirmed"}] += 0
	}
	for name := range group.Caches() {
		for _, reason := range words(tokencache.Reason.String) {
			o.counts[series{loadsEnded, name, reason}] += 0
		}
		for _, reason := range []tokencache.Reason{tokencache.ReasonUnavailable, tokencache.ReasonOverloaded} {
			o.counts[series{turnedAway, name, reason.String()}] += 0
		}
	}
}

// beginFleet does the same for a node's events.
func (o *Observer) beginFleet() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, kind := range words(fleet.EventKind.String) {
		o.counts[series{fleetEvents, "", kind}] += 0
	}
}

// words returns the names of all values of an enumerated type.
func words[T ~int](name func(T) string) (all []string) {
	for v := T(0); name(v) != "unknown"; v++ {
		all = append(all, name(v))
	}
	return all
}
