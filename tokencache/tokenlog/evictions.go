package tokenlog

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

const (
	evictionsEvery = time.Second // between two lines about evictions
	mostListed     = 10          // a line must stay readable
)

// evictions are those that have not been logged yet. The first one is logged at once, and
// begins an interval in which others are added up; they are logged at its end, and begin
// the next one.
type evictions struct {
	open    bool // an interval has begun, and a timer will end it
	ctx     context.Context
	first   tokencache.Event
	level   slog.Level
	count   int
	evicted int
	causes  []string // at most mostListed of each
	callers []string
}

func (o *Observer) evicted(ctx context.Context, ev tokencache.Event) {
	level := slog.LevelInfo
	if ev.Cause == tokencache.CauseClosed || ev.Cause == tokencache.CauseSource && ev.Selectors != nil {
		level = slog.LevelDebug
	}
	caller, log := o.caller(ctx), o.logger()
	if !log.Enabled(ctx, level) {
		return
	}
	o.mu.Lock()
	e := &o.evictions
	e.add(ctx, ev, level, caller)
	var lines []line
	begins := !e.open
	if begins || ev.Cause == tokencache.CauseClosed { // after a Close the process may end before the timer fires
		e.open = true
		lines = e.take()
	}
	o.mu.Unlock()
	if begins {
		time.AfterFunc(evictionsEvery, o.addedUp)
	}
	write(ctx, log, lines)
}

func (o *Observer) logger() *slog.Logger {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.log
}

// addedUp logs the evictions since the last line about evictions.
func (o *Observer) addedUp() {
	o.mu.Lock()
	e := &o.evictions
	ctx, log, lines := e.ctx, o.log, e.take()
	e.open = len(lines) > 0
	o.mu.Unlock()
	if len(lines) > 0 {
		time.AfterFunc(evictionsEvery, o.addedUp)
		write(ctx, log, lines)
	}
}

func (e *evictions) add(ctx context.Context, ev tokencache.Event, level slog.Level, caller string) {
	if e.count == 0 {
		e.ctx, e.first, e.level = ctx, ev, level
	}
	e.count++
	e.level = max(e.level, level)
	for _, n := range ev.Evicted {
		e.evicted += n
	}
	e.causes = listed(e.causes, ev.Cause.String())
	if caller != "" {
		e.callers = listed(e.callers, caller)
	}
}

// listed adds a word that is not in the list yet, while the list is short.
func listed(list []string, word string) []string {
	if len(list) == mostListed || slices.Contains(list, word) {
		return list
	}
	return append(list, word)
}

// take returns the line for the evictions that were added up, and begins anew.
func (e *evictions) take() []line {
	defer func() { *e = evictions{open: e.open} }()
	switch e.count {
	case 0:
		return nil
	case 1:
		return []line{e.alone()}
	default:
		attrs := []slog.Attr{slog.Int("evictions", e.count), slog.Int("evicted", e.evicted), slog.Any("causes", e.causes)}
		if len(e.callers) > 0 {
			attrs = append(attrs, slog.Any("callers", e.callers))
		}
		return []line{{e.level, "many evictions within a second", attrs}}
	}
}

// alone returns the line for a single eviction.
func (e *evictions) alone() line {
	ev := e.first
	attrs := []slog.Attr{slog.String("cause", ev.Cause.String()), slog.Int("evicted", e.evicted)}
	if len(e.callers) > 0 {
		attrs = append(attrs, slog.String("caller", e.callers[0]))
	}
	if ev.Cache != "" {
		attrs = append(attrs, slog.String("cache", ev.Cache))
	}
	if ev.Selectors == nil {
		return line{e.level, "caches cleared", attrs}
	}
	var tokens []string
	for _, sel := range ev.Selectors[:min(mostListed, len(ev.Selectors))] {
		tokens = append(tokens, sel.String())
	}
	attrs = append(attrs, slog.Any("tokens", tokens), slog.Int("selectors", len(ev.Selectors)))
	return line{e.level, "tokens evicted", attrs}
}
