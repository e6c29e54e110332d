package tokenmetrics

import (
	"time"

	"github.com/svctoken/svctoken/indexsource"
)

var (
	indexOK       = define("index.ok", "", "Whether the index answered when it was last asked for changes.", Gauge)
	indexHealth   = define("index.health", "", "Whether this is the index's health.", Gauge)
	indexRevision = define("index.revision", "", "The last change of the index that this process has heard of.", Gauge)
	indexPolled   = define("index.polled_timestamp", "seconds", "Every change before this time is in force here.", Gauge)
)

// An IndexStatus is what [Observer.WatchIndex] shows of an index.
type IndexStatus struct {
	Health   indexsource.Health
	Revision int64     // of the last change; negative: the index numbers none
	Polled   time.Time // every change before this time is in force here; zero: unknown
	Err      error     // why the index did not answer when it was last asked for changes
}

// WatchIndex shows an index's status, with the name as the label index. Status is called
// at each collection, and must not wait for the index. For sqlindex it returns the values
// of Index.Status; for an index without such numbers, only the health of Source.State.
func (o *Observer) WatchIndex(name string, status func() IndexStatus) {
	label := Label{"index", name}
	o.watch(func(c *collection) {
		st := status()
		c.add(indexOK, flag(st.Err == nil), label)
		for health := indexsource.HealthNone; health <= indexsource.HealthGreen; health++ {
			c.add(indexHealth, flag(health == st.Health), label, Label{"health", health.String()})
		}
		if st.Revision >= 0 {
			c.add(indexRevision, float64(st.Revision), label)
		}
		if !st.Polled.IsZero() {
			c.add(indexPolled, timestamp(st.Polled), label)
		}
	})
}
