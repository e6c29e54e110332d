package tokenlog

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

const (
	repeat     = time.Minute // between two lines about the same
	repeatFull = time.Hour   // the same for a full cache, which is nobody's emergency
	outage     = time.Minute // how long loads must fail before it is an error
)

// New returns an observer for GroupConfig.Observer that logs to logger; see the
// package's documentation for the levels. Nil: slog.Default. It is safe for
// concurrent use by multiple goroutines, and is to be used for one group.
func New(logger *slog.Logger) func(context.Context, tokencache.Event) {
	if logger == nil {
		logger = slog.Default()
	}
	o := &observer{log: logger, caches: make(map[string]*state)}
	return o.observe
}

type observer struct {
	log *slog.Logger

	mu     sync.Mutex // guards caches and all in it; no line is written under it
	caches map[string]*state
}

// A state is what has been said of a cache.
type state struct {
	failing   time.Time // when the present outage began; zero: there is none
	last      time.Time // when a load failed last
	failures  int       // loads that failed in the outage
	announced bool      // whether it has been told of; a source that fails now and then is not, each time
	escalated bool      // whether it has been called an error
	panicked  bool      // whether a stack has been shown

	failed, overloaded, full limit
}

// A limit says when there is something to tell again.
type limit struct {
	told    time.Time
	pending int // what has been counted since
}

// due counts n more, and returns how many there are to tell of, or 0.
func (l *limit) due(n int, now time.Time, every time.Duration) int {
	l.pending += n
	if !l.told.IsZero() && now.Sub(l.told) < every {
		return 0
	}
	n, l.pending, l.told = l.pending, 0, now
	return n
}

// A line is what is to be logged.
type line struct {
	level slog.Level
	text  string
	attrs []slog.Attr
}

func (o *observer) observe(ctx context.Context, ev tokencache.Event) {
	for _, l := range o.lines(ev, time.Now()) {
		o.log.LogAttrs(ctx, l.level, l.text, l.attrs...)
	}
}

// lines returns what an event gives to log.
func (o *observer) lines(ev tokencache.Event, now time.Time) []line {
	if ev.Kind == tokencache.EventEviction {
		return []line{eviction(ev)}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
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
		return nil // nobody's failure, or the consequence of one that is told
	case ev.Reason == tokencache.ReasonOverloaded:
		return s.turnedAway(ev, now)
	case ev.Err == nil:
		return s.answered(ev, now)
	default:
		return s.failedLoad(ev, now)
	}
}

func eviction(ev tokencache.Event) line {
	level := slog.LevelInfo
	if ev.Cause == tokencache.CauseClosed || ev.Cause == tokencache.CauseSource && ev.Selectors != nil {
		level = slog.LevelDebug
	}
	total := 0
	for _, n := range ev.Evicted {
		total += n
	}
	attrs := []slog.Attr{slog.String("cause", ev.Cause.String()), slog.Int("evicted", total)}
	if ev.Cache != "" {
		attrs = append(attrs, slog.String("cache", ev.Cache))
	}
	if ev.Selectors == nil {
		return line{level, "caches cleared", attrs}
	}
	const most = 10 // a line is for reading
	tokens := make([]string, 0, most)
	for _, sel := range ev.Selectors[:min(most, len(ev.Selectors))] {
		tokens = append(tokens, sel.String())
	}
	attrs = append(attrs, slog.Any("tokens", tokens), slog.Int("selectors", len(ev.Selectors)))
	return line{level, "tokens evicted", attrs}
}

func (s *state) displaced(ev tokencache.Event, now time.Time) []line {
	n := s.full.due(ev.Count, now, repeatFull)
	if n == 0 {
		return nil
	}
	return []line{{slog.LevelWarn, "the cache is full, and forgets tokens to make room", []slog.Attr{
		slog.String("cache", ev.Cache), slog.Int("displaced", n),
	}}}
}

func (s *state) turnedAway(ev tokencache.Event, now time.Time) []line {
	n := s.overloaded.due(1, now, repeat)
	if n == 0 {
		return nil
	}
	return []line{{slog.LevelWarn, "authentications are turned away: too much work is waiting", []slog.Attr{
		slog.String("cache", ev.Cache), slog.Int("times", n), slog.String("token", ev.Token.String()),
	}}}
}

// answered notes that the source has spoken, whatever it said.
func (s *state) answered(ev tokencache.Event, now time.Time) []line {
	if s.failing.IsZero() {
		return nil
	}
	began, failures, announced := s.failing, s.failures, s.announced
	s.failing, s.failures, s.announced, s.escalated = time.Time{}, 0, false, false
	if !announced {
		return nil
	}
	return []line{{slog.LevelInfo, "the source answers again", []slog.Attr{
		slog.String("cache", ev.Cache), slog.Int("failures", failures), slog.Duration("after", now.Sub(began).Round(time.Millisecond)),
	}}}
}

func (s *state) failedLoad(ev tokencache.Event, now time.Time) (lines []line) {
	if s.failing.IsZero() || !s.escalated && now.Sub(s.last) > outage { // nobody asked: that is no outage
		s.failing, s.failures = now, 0
	}
	s.last = now
	s.failures++
	attrs := []slog.Attr{slog.String("cache", ev.Cache), slog.String("reason", ev.Reason.String()), slog.Any("err", ev.Err)}
	if ev.Reason == tokencache.ReasonSourcePanicked && !s.panicked {
		s.announced, s.panicked = true, true
		if e, ok := errors.AsType[*tokencache.NoAnswerError](ev.Err); ok {
			attrs = append(attrs, slog.String("stack", string(e.Stack)))
		}
		return []line{{slog.LevelError, "the source panicked", attrs}}
	}
	if !s.escalated && now.Sub(s.failing) >= outage {
		s.announced, s.escalated = true, true
		s.failed.due(1, now, 0)
		return []line{{slog.LevelError, "the source has not answered for a minute", append(attrs,
			slog.Int("failures", s.failures), slog.Time("since", s.failing))}}
	}
	if n := s.failed.due(1, now, repeat); n > 0 {
		s.announced = true
		lines = append(lines, line{slog.LevelWarn, "the source fails", append(attrs, slog.Int("times", n))})
	}
	return lines
}
