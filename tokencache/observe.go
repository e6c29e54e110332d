package tokencache

import "time"

// An Event is what GroupConfig.Observer is told. Which fields are set depends on
// its kind. It holds no secret.
type Event struct {
	Kind EventKind

	// Cache is the cache of a load, an overload or a displacement, and of an
	// eviction from one cache alone; empty for an eviction from all of them.
	Cache string

	// Of a load or an overload.
	Token  TokenID
	Reason Reason // zero: the source confirmed the token

	// Duration is how long a load took, from its start to its end, with the wait for
	// a turn to hash. Err is the *NoAnswerError of an overload, and of a load without
	// an answer; nil if a load confirmed or refused the token.
	Duration time.Duration
	Err      error

	// Of an eviction.
	Cause     Cause
	Selectors []Selector     // nil: everything
	Evicted   map[string]int // how many live entries went, by cache

	// Count is how many entries were displaced since the last event for the cache.
	Count int
}

// An EventKind says what an [Event] is about.
type EventKind int

const (
	EventLoad         EventKind = iota // a load has ended; after a panic of the source, Err has the stack
	EventEviction                      // an eviction, or a clearing, has taken effect
	EventDisplacement                  // entries were displaced to make room: at most one event a second
	EventOverload                      // an authentication was turned away
)

// String returns the kind's name in lower case.
func (k EventKind) String() string {
	switch k {
	case EventLoad:
		return "load"
	case EventEviction:
		return "eviction"
	case EventDisplacement:
		return "displacement"
	case EventOverload:
		return "overload"
	default:
		return "unknown"
	}
}
