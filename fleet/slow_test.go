package fleet_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleettest"
)

// A distant log delivers everything, each message some time after it was written, as over
// a slow connection with large buffers.
type distant struct {
	*fleettest.Conn
	away time.Duration
}

func (d distant) Follow(ctx context.Context, from fleetlog.Position) (fleetlog.Follower, error) {
	inner, err := d.Conn.Follow(ctx, from)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	f := &distantFollower{Follower: inner, away: d.away, stop: stop, onTheWay: make(chan arrival, 10_000)}
	go f.carry(ctx)
	return f, nil
}

type arrival struct {
	fleetlog.Message
	at  time.Time
	err error
}

type distantFollower struct {
	fleetlog.Follower
	away     time.Duration
	stop     context.CancelFunc
	onTheWay chan arrival
}

func (f *distantFollower) carry(ctx context.Context) {
	for {
		m, err := f.Follower.Next(ctx)
		f.onTheWay <- arrival{m, time.Now().Add(f.away), err}
		if err != nil {
			return
		}
	}
}

func (f *distantFollower) Next(ctx context.Context) (fleetlog.Message, error) {
	select {
	case a := <-f.onTheWay:
		timer := time.NewTimer(time.Until(a.at))
		defer timer.Stop()
		select {
		case <-timer.C:
			return a.Message, a.err
		case <-ctx.Done():
			return fleetlog.Message{}, ctx.Err()
		}
	case <-ctx.Done():
		return fleetlog.Message{}, ctx.Err()
	}
}

func (f *distantFollower) Close() { f.stop() }

// A mute log opens some followers that deliver nothing, as a client does that does not
// notice that its consumer is dead.
type mute struct {
	*fleettest.Conn
	left   atomic.Int64 // how many
	opened atomic.Int64
}

func (m *mute) Follow(ctx context.Context, from fleetlog.Position) (fleetlog.Follower, error) {
	m.opened.Add(1)
	if m.left.Add(-1) >= 0 {
		return silentFollower{}, nil
	}
	return m.Conn.Follow(ctx, from)
}

type silentFollower struct{}

func (silentFollower) Next(ctx context.Context) (fleetlog.Message, error) {
	<-ctx.Done()
	return fleetlog.Message{}, ctx.Err()
}

func (silentFollower) Close() {}

// TestDeadFollowers: the node gives up one dead follower after the other, within the
// lease.
func TestDeadFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &mute{Conn: fleettest.NewLog().Connect()}
		var sessions atomic.Int64
		node, err := fleet.NewWith(log, &recorder{}, fleet.Config{Observer: func(e fleet.Event) {
			if e.Kind == fleet.EventServing {
				sessions.Add(1)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		if err := node.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		log.left.Store(3)
		log.Break()
		time.Sleep(2 * simLease)
		if sessions.Load() != 1 || log.opened.Load() != 5 {
			t.Errorf("it took %d sessions, and %d followers", sessions.Load(), log.opened.Load())
		}
	})
}

// TestSlowLog: a node whose log delivers slowly, but delivers, goes on serving, and after
// a while leaves its follower as it is.
func TestSlowLog(t *testing.T) {
	part := func(percent time.Duration) time.Duration { return simLease * percent / 100 }
	for _, tt := range []struct {
		name   string
		others int
		away   time.Duration // each message is so long on its way
		each   time.Duration // one message in so long
		asks   time.Duration // each request is so long on its way
		joins  int64         // how many sessions it takes until it stays
	}{
		{name: "alone, one message in 15 % of a lease", each: part(15), joins: 1},
		{name: "alone, one message in 25 % of a lease", each: part(25), joins: 2},
		{name: "one of three, 15 % of a lease away", others: 2, away: part(15), joins: 1},
		{name: "one of three, 30 % of a lease away", others: 2, away: part(30), joins: 2},
		{name: "one of three, which takes 15 % of a lease to ask", others: 2, asks: part(15), joins: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := fleettest.NewLog()
				for i := range tt.others {
					if err := start(t, log, string(rune('a'+i))).Ready(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				conn := distant{log.Connect(), tt.away}
				conn.Delay = func(what string) time.Duration {
					return map[string]time.Duration{"deliver": tt.each, "request": tt.asks}[what]
				}
				var sessions, reopened atomic.Int64
				node, err := fleet.NewWith(conn, &recorder{}, fleet.Config{Name: "slow", Observer: func(e fleet.Event) {
					switch e.Kind {
					case fleet.EventServing:
						sessions.Add(1)
					case fleet.EventReopened:
						reopened.Add(1)
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer node.Close()
				time.Sleep(5 * simLease)
				before := reopened.Load()
				time.Sleep(10 * simLease)
				if n := sessions.Load(); n > tt.joins || !node.Status().Serving {
					t.Errorf("it took %d sessions, and serves: %v", n, node.Status().Serving)
				}
				if n := reopened.Load() - before; n > 0 {
					t.Errorf("in ten leases the follower was opened anew %d times, after %d times before", n, before)
				}
				if _, err := node.Evict(t.Context(), "elastic", "fleet-server", "t0"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
