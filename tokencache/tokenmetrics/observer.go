package tokenmetrics

import (
	"context"
	"errors"
	"iter"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/tokencache"
)

// Config holds the options of an [Observer]. The zero value is the recommended
// production setting.
type Config struct {
	// Buckets are the upper bounds, in seconds, of the histogram of load durations, in
	// increasing order. Nil: from 100 microseconds, an index in memory, to 10 seconds,
	// the default timeout.
	Buckets []float64
}

var defaultBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// An Observer has the metrics of one group, and of the files, the indexes and the node
// that belong to it. [New] makes one. It is safe for concurrent use by multiple
// goroutines.
type Observer struct {
	bounds []float64 // immutable after New; the last one is infinite

	mu      sync.Mutex // guards the fields below
	name    string
	group   *tokencache.Group // nil: none is watched
	watched []func(*collection)
	counts  counts
	loads   map[loadKind]*histogram
	renewed time.Time // when the node's lease was last renewed; zero: never
}

// New returns an Observer.
func New(cfg Config) *Observer {
	bounds := cfg.Buckets
	if bounds == nil {
		bounds = defaultBuckets
	}
	return &Observer{
		bounds: append(slices.Clone(bounds), math.Inf(1)),
		counts: make(counts),
		loads:  make(map[loadKind]*histogram),
	}
}

// Watch makes the observer show the counters of its group. A name that is not empty tells
// the groups of one process apart: it becomes the label group of every series. A later
// call takes the place of an earlier one.
func (o *Observer) Watch(name string, group *tokencache.Group) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.name, o.group = name, group
}

// watch adds a function that is called at each collection.
func (o *Observer) watch(read func(*collection)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watched = append(o.watched, read)
}

// Observe counts an event, for GroupConfig.Observer.
func (o *Observer) Observe(_ context.Context, ev tokencache.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch ev.Kind {
	case tokencache.EventLoad:
		o.counts[series{loadsEnded, ev.Cache, ev.Reason.String()}]++
		o.durationLocked(loadKind{ev.Cache, outcome(ev)}, ev.Duration)
	case tokencache.EventEviction:
		o.counts[series{evictions, "", ev.Cause.String()}]++
	case tokencache.EventOverload:
		o.counts[series{turnedAway, ev.Cache, ev.Reason.String()}]++
	}
}

// ObserveFleet counts an event, for fleet.Config.Observer.
func (o *Observer) ObserveFleet(ev fleet.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counts[series{fleetEvents, "", ev.Kind.String()}]++
	if ev.Kind == fleet.EventServing || ev.Kind == fleet.EventRenewed {
		o.renewed = time.Now()
	}
}

// ObserveChange counts a change of a token that somebody has asked the host for: a
// revocation that fails must not go unnoticed. Change is a word for what was asked:
// create, delete, rotate, enable, disable, expire or evict, or another one of the host's,
// never what a client has sent. Err is the outcome; nil: it succeeded. One that wraps
// tokencache.ErrNotFound, tokencache.ErrExists or a *tokencache.NameError counts as
// rejected, a *fleet.UnconfirmedError as unconfirmed, and any other one as failed.
func (o *Observer) ObserveChange(change string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counts[series{changes, change, changeOutcome(err)}]++
}

func changeOutcome(err error) string {
	if err == nil {
		return "done"
	}
	if _, ok := errors.AsType[*fleet.UnconfirmedError](err); ok {
		return "unconfirmed"
	}
	if _, ok := errors.AsType[*tokencache.NameError](err); ok || errors.Is(err, tokencache.ErrNotFound) || errors.Is(err, tokencache.ErrExists) {
		return "rejected"
	}
	return "failed"
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

// All returns the metrics as they are now, in the same order each time. Those that have
// nothing to show come without points.
func (o *Observer) All() iter.Seq[Family] {
	return func(yield func(Family) bool) {
		for _, f := range o.collect().families {
			if !yield(f) {
				return
			}
		}
	}
}

func (o *Observer) collect() *collection {
	o.mu.Lock()
	name, group, watched := o.name, o.group, slices.Clone(o.watched)
	o.mu.Unlock()
	c := newCollection(name)
	if group != nil {
		c.group(group)
	}
	for _, read := range watched { // it may take locks of the host's, so not under this mutex
		read(c)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.countsLocked(c, group)
	return c
}
