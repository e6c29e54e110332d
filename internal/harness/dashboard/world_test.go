package dashboard_test

import (
	"errors"
	"time"

	tokenprom "github.com/svctoken/svctoken/adapters/tokenprom"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
)

// A world is what a server depends on, a file, an index and a node of a fleet, with their
// reported states.
type world struct {
	collector *tokenprom.Collector
	file      file
	index     tokenmetrics.IndexStatus
	place     place
}

type file struct{ status filesource.Status }

func (f *file) Status() filesource.Status { return f.status }

type place struct {
	status  fleet.Status
	members int
}

func (p *place) Status() fleet.Status { return p.status }
func (p *place) Members() []fleet.Member {
	members := make([]fleet.Member, p.members)
	for i := range members {
		members[i].Until = time.Now().Add(time.Minute)
	}
	return members
}

func newWorld(collector *tokenprom.Collector) *world {
	w := &world{collector: collector}
	w.file.status.Tokens = 20
	collector.WatchFile("file", &w.file)
	collector.WatchIndex("index", func() tokenmetrics.IndexStatus { return w.index })
	collector.WatchFleet("", &w.place)
	return w
}

// second sets the states for one second: the index fails while the server's clients find
// it failing, a node leaves, and the file is broken for a while.
func (w *world) second(n int) {
	minute := n / 60
	now := time.Now()
	w.file.status.Err = nil
	if minute >= 5 && minute < 7 {
		w.file.status.Err = errors.New("a line without a colon")
	}
	if minute >= 15 && minute < 19 {
		w.index.Health, w.index.Err = indexsource.HealthRed, errors.New("no route to the index")
	} else {
		w.index = tokenmetrics.IndexStatus{Health: indexsource.HealthGreen, Revision: int64(100 + minute), Polled: now}
	}
	w.place.status = fleet.Status{Serving: true, Lease: 15 * time.Second, Until: now.Add(15 * time.Second), Applied: fleetlog.Position(40 + n)}
	w.place.members = 3
	if minute >= 25 && minute < 27 {
		w.place.members = 2
	}
	switch n {
	case 13 * 60:
		w.collector.ObserveChange("delete", nil)
		w.file.status.Tokens--
	case 16 * 60:
		w.collector.ObserveChange("delete", errors.New("no route to the index"))
	}
}
