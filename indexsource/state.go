package indexsource

// A State is the part of an index's condition that decides whether caches are cleared.
// The zero State means that there is no index.
type State struct {
	Health   Health
	UUID     string // the index's identity: another one means another index
	UpToDate bool   // whether its format is the present one
}

// A Health is the availability of an index.
type Health int

const (
	HealthNone   Health = iota // there is no index, or it is closed
	HealthRed                  // some of it is not available
	HealthYellow               // all of it is available, not all of its copies
	HealthGreen                // all of it is available, with all copies
)

// String returns the health's name in lower case.
func (h Health) String() string {
	switch h {
	case HealthNone:
		return "none"
	case HealthRed:
		return "red"
	case HealthYellow:
		return "yellow"
	case HealthGreen:
		return "green"
	default:
		return "unknown"
	}
}

func (h Health) available() bool { return h == HealthYellow || h == HealthGreen }

// Clears reports whether a change from this state to the next makes cached
// verdicts doubtful, so that they must go:
//
//   - the index has become available: from red or none to yellow or green;
//   - it has gone: from any health to none;
//   - it is another index: the UUID has changed;
//   - up-to-date flipped, either way.
//
// Yellow to green and back, or to red, is no reason: the documents are the same.
// The rules are those of Elasticsearch.
func (s State) Clears(next State) bool {
	return !s.Health.available() && next.Health.available() ||
		s.Health != HealthNone && next.Health == HealthNone ||
		s.UUID != next.UUID ||
		s.UpToDate != next.UpToDate
}
