package tokenlog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
)

// Config holds the options of an [Observer]. The zero value is the recommended
// production setting.
type Config struct {
	Logger *slog.Logger // nil: slog.Default, as it is when New is called

	// Caller returns the name of the user for whom something happens in the context, an
	// eviction for example, as the host names its users, or "" if that is not known. Nil:
	// the user that evict.WithUser, and so an evict.Handler, has put into the context.
	Caller func(context.Context) string
}

// An Observer logs events. [New] makes one, for one group. It is safe for concurrent use
// by multiple goroutines, and starts none: a timer logs evictions that were held back,
// within a second.
type Observer struct {
	caller func(context.Context) string

	mu        sync.Mutex // guards the fields below and all in them; no line is written under it
	log       *slog.Logger
	caches    map[string]*state
	node      node
	evictions evictions
}

// New returns an Observer, whose Observe is for GroupConfig.Observer. The package's
// documentation has the levels.
func New(cfg Config) *Observer {
	o := &Observer{log: cfg.Logger, caller: cfg.Caller, caches: make(map[string]*state)}
	if o.log == nil {
		o.log = slog.Default()
	}
	if o.caller == nil {
		o.caller = userOf
	}
	return o
}

func userOf(ctx context.Context) string {
	user, _ := evict.UserFrom(ctx)
	return user.Name
}

// Watch tells the groups of one process apart: from now on each line has the name as
// group. An empty name changes nothing.
func (o *Observer) Watch(name string, _ *tokencache.Group) {
	if name == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log = o.log.With(slog.String("group", name))
}

// A line is something to log.
type line struct {
	level slog.Level
	text  string
	attrs []slog.Attr
}

// Observe logs an event, for GroupConfig.Observer.
func (o *Observer) Observe(ctx context.Context, ev tokencache.Event) {
	if ev.Kind == tokencache.EventEviction {
		o.evicted(ctx, ev)
		return
	}
	o.mu.Lock()
	log, lines := o.log, o.linesLocked(ev, time.Now())
	o.mu.Unlock()
	write(ctx, log, lines)
}

func write(ctx context.Context, log *slog.Logger, lines []line) {
	for _, l := range lines {
		log.LogAttrs(ctx, l.level, l.text, l.attrs...)
	}
}

// linesLocked returns the lines for an event of a cache.
func (o *Observer) linesLocked(ev tokencache.Event, now time.Time) []line {
	s := o.caches[ev.Cache]
	if s == nil {
		s = new(state)
		o.caches[ev.Cache] = s
	}
	switch {
	case ev.Kind == tokencache.EventDisplacement:
		return s.displaced(ev, now)
	case ev.Kind == tokencache.EventOverload && ev.Reason == tokencache.ReasonOverloaded:
		return s.turnedAway(ev, now)
	case ev.Kind != tokencache.EventLoad, ev.Reason == tokencache.ReasonClosed, ev.Reason == tokencache.ReasonGaveUp:
		return nil // not a failure, or the consequence of one that is logged
	case ev.Reason == tokencache.ReasonOverloaded:
		return s.turnedAway(ev, now)
	case ev.Err == nil:
		return s.answered(ev, now)
	default:
		return s.failedLoad(ev, now)
	}
}
