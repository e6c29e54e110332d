package tokenlog

import (
	"errors"
	"log/slog"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

const (
	repeat     = time.Minute // between two lines about the same
	repeatFull = time.Hour   // the same for a full cache, which is no emergency
	outage     = time.Minute // how long loads must fail before it is an error
)

// A state is the logged state of a cache.
type state struct {
	failing   time.Time // when the present outage began; zero: there is none
	last      time.Time // when the last load failed
	failures  int       // loads that failed in the outage
	announced bool      // whether it was logged; not each failure of a source that fails now and then is
	escalated bool      // whether it was logged as an error
	panicked  bool      // whether a stack was logged

	failed           news
	overloaded, full limit
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

// answered notes that the source has answered, whatever the answer.
func (s *state) answered(ev tokencache.Event, now time.Time) []line {
	if s.failing.IsZero() {
		return nil
	}
	began, failures, announced := s.failing, s.failures, s.announced
	s.over()
	if !announced {
		return nil
	}
	return []line{{slog.LevelInfo, "the source answers again", []slog.Attr{
		slog.String("cache", ev.Cache), slog.Int("failures", failures), slog.Duration("after", now.Sub(began).Round(time.Millisecond)),
	}}}
}

// over ends an outage.
func (s *state) over() {
	s.failing, s.failures, s.announced, s.escalated = time.Time{}, 0, false, false
	s.failed.what = ""
}

func (s *state) failedLoad(ev tokencache.Event, now time.Time) []line {
	if !s.escalated && now.Sub(s.last) > outage { // no load was tried since, so it was not an outage
		s.over()
	}
	if s.failing.IsZero() {
		s.failing = now
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
		s.failed.what = ev.Reason.String()
		s.failed.limit.due(1, now, 0)
		return []line{{slog.LevelError, "the source has not answered for a minute", append(attrs,
			slog.Int("failures", s.failures), slog.Time("since", s.failing))}}
	}
	n := s.failed.due(ev.Reason.String(), now)
	if n == 0 {
		return nil
	}
	s.announced = true
	return []line{{slog.LevelWarn, "the source fails", append(attrs, slog.Int("times", n))}}
}
