package tokenlog

import (
	"context"
	"log/slog"
	"time"

	"github.com/svctoken/svctoken/fleet"
)

// ObserveFleet logs a node's event, for fleet.Config.Observer.
func (o *Observer) ObserveFleet(ev fleet.Event) {
	o.mu.Lock()
	log, lines := o.log, o.nodeLocked(ev, time.Now())
	o.mu.Unlock()
	write(context.Background(), log, lines)
}

// A node is the logged state of a node. Each kind of line has news of its own: a follower
// that is opened anew, for several reasons in a row, must not use up the lines that say
// that the node does not serve.
type node struct {
	serving, stopped, failed, reopened, back news

	applied uint64 // the position at the session's last event that is logged
}

func (o *Observer) nodeLocked(ev fleet.Event, now time.Time) []line {
	n := &o.node
	switch ev.Kind {
	case fleet.EventServing:
		n.stopped.what, n.failed.what, n.reopened.what = "", "", ""
		return append(n.wentBack(ev, now), nodeLine(ev, slog.LevelInfo, "the node serves", n.serving.due(ev.Kind.String(), now))...)
	case fleet.EventStopped:
		n.serving.what = ""
		n.applied = uint64(ev.Position)
		return nodeLine(ev, slog.LevelWarn, "the node does not serve: its caches are cleared, and it joins anew", n.stopped.due(about(ev), now))
	case fleet.EventJoinFailed:
		return nodeLine(ev, slog.LevelWarn, "the node cannot join", n.failed.due(about(ev), now))
	case fleet.EventReopened:
		return nodeLine(ev, slog.LevelInfo, "the node follows the log anew", n.reopened.due(about(ev), now))
	default:
		return nil
	}
}

// wentBack says that the log ends before what the node had applied. A node joins behind a
// message of its own, which comes after all that it had applied before: so such a log has
// lost something.
func (n *node) wentBack(ev fleet.Event, now time.Time) []line {
	before := n.applied
	n.applied = uint64(ev.Position)
	if n.applied >= before {
		return nil
	}
	n.back.what = "" // each time is news
	times := n.back.due(ev.Kind.String(), now)
	if times == 0 {
		return nil
	}
	return []line{{slog.LevelWarn, "the log was restored or made anew: what was revoked since may be good again", []slog.Attr{
		slog.Uint64("position", n.applied), slog.Uint64("before", before), slog.Int("times", times),
	}}}
}

// about returns the part of an event that must differ from the last one's to be news.
func about(ev fleet.Event) string {
	if ev.Err == nil {
		return ev.Kind.String()
	}
	return ev.Kind.String() + ": " + ev.Err.Error()
}

func nodeLine(ev fleet.Event, level slog.Level, text string, times int) []line {
	if times == 0 {
		return nil
	}
	attrs := []slog.Attr{slog.Uint64("position", uint64(ev.Position)), slog.Int("times", times)}
	if ev.Err != nil {
		attrs = append(attrs, slog.Any("err", ev.Err))
	}
	return []line{{level, text, attrs}}
}
