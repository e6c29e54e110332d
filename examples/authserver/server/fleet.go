package server

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
)

// A Fleet is the log that a server shares with others. The log has the index.
type Fleet struct {
	Log    fleetlog.Log
	Kind   string       // what the log is, such as "NATS JetStream", for the operators' page
	Config fleet.Config // except the name, which is that of the options
}

// RunFleet is [Run] with the index in a log, and evictions that hold on every server
// of the log. Until the server has joined, and while its lease has run out, it answers
// service tokens with 503. The log stays the caller's.
func RunFleet(ctx context.Context, o Options, f Fleet) error {
	return run(ctx, o, func(s *server) (err error) {
		cfg := f.Config
		cfg.Name, cfg.Answer = s.node.name, s.answer
		cfg.Observer = func(e fleet.Event) {
			s.operation.log.ObserveFleet(e)
			s.metrics.ObserveFleet(e)
			if f.Config.Observer != nil {
				f.Config.Observer(e)
			}
		}
		if s.fleet, err = fleet.New(f.Log, s.group, cfg); err != nil {
			return err
		}
		s.node.id = s.fleet.Status().ID
		s.index, s.evictor = fleetIndex{s.fleet.Index(), s.fleet, f.Kind}, s.fleet
		return nil
	})
}

// A fleetIndex is the documents of a fleet's log.
type fleetIndex struct {
	fleet.Index
	node *fleet.Node
	kind string
}

var _ Index = fleetIndex{}

func (x fleetIndex) Describe(context.Context) Description {
	status := x.node.Status()
	d := Description{Kind: x.kind, Revision: strconv.FormatUint(uint64(status.Applied), 10)}
	if !status.Serving {
		d.Revision, d.Err = "", fleet.ErrNotServing
	}
	return d
}

// A fleetView is the fleet's condition, as this node sees it.
type fleetView struct {
	fleet.Status
	Now     time.Time
	Members []fleet.Member
}

// fleetView returns nil for a server that is alone.
func (s *server) fleetView() *fleetView {
	if s.fleet == nil {
		return nil
	}
	return &fleetView{s.fleet.Status(), time.Now(), s.fleet.Members()}
}

// Answers reports whether the node has a lease at present.
func (v *fleetView) Answers() bool { return v.Serving && v.Now.Before(v.Until) }

// Left returns the duration until a time, or zero.
func (v *fleetView) Left(until time.Time) time.Duration {
	return max(0, until.Sub(v.Now)).Round(100 * time.Millisecond)
}

// Ago returns how long ago a time was.
func (v *fleetView) Ago(since time.Time) time.Duration {
	return max(0, v.Now.Sub(since)).Round(100 * time.Millisecond)
}

// object returns the view in the form of the statistics.
func (v *fleetView) object() object {
	members := []object{}
	for _, m := range v.Members {
		members = append(members, object{
			"id": m.ID, "name": m.Name, "session": m.Session, "applied": m.Applied,
			"heard_millis_ago": v.Now.Sub(m.Heard).Milliseconds(), "lease_left_millis": max(0, m.Until.Sub(v.Now)).Milliseconds(),
		})
	}
	body := object{
		"id": v.ID, "name": v.Name, "answers": v.Answers(), "since": v.Since, "error": nil, "applied": v.Applied, "log": v.Log, "changes_pending": v.Pending,
		"lease_millis": v.Lease.Milliseconds(), "lease_left_millis": max(0, v.Until.Sub(v.Now)).Milliseconds(), "members": members,
	}
	if v.Err != nil {
		body["error"] = v.Err.Error()
	}
	return body
}

// unconfirmed returns those nodes of a report that may not have evicted.
func unconfirmed(report *evict.Report) []evict.Node {
	var list []evict.Node
	for _, node := range report.Nodes {
		if node.Err != nil {
			list = append(list, node)
		}
	}
	return list
}

// everywhere says, in words, on which other nodes an eviction is in force, and on which
// it may not be.
func everywhere(report *evict.Report) string {
	var in, out []string
	for _, node := range report.Nodes {
		switch {
		case node.Err == nil:
			in = append(in, node.Name)
		case node.UnconfirmedUntil.IsZero():
			out = append(out, node.Name)
		default:
			out = append(out, fmt.Sprintf("%s (until %s UTC)", node.Name, node.UnconfirmedUntil.UTC().Format("15:04:05")))
		}
	}
	text := ""
	if len(in) > 0 {
		text += "; in force on " + strings.Join(in, ", ")
	}
	if len(out) > 0 {
		text += "; not confirmed by " + strings.Join(out, ", ")
	}
	if report.Others != "" {
		text += "; not counted: " + report.Others
	}
	return text
}

// reached reports whether an eviction was sent to the nodes in its report; not all of
// them may have confirmed it.
func reached(report evict.Report, err error) bool {
	return err == nil || len(unconfirmed(&report)) > 0
}

// unconfirmedError returns the error of a change that may be in force, but not on every
// node.
func unconfirmedError(err error) (*fleet.UnconfirmedError, bool) {
	return errors.AsType[*fleet.UnconfirmedError](err)
}
