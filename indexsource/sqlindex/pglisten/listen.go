package pglisten

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is what the triggers of package sqlindex notify.
const channel = "svctoken"

// Config has the optional settings of a [Listener]. The zero Config is the recommended
// one.
type Config struct {
	// CheckEvery is how long the listener waits without a notification before it checks
	// the connection; zero: 15 s. If the check is not answered within the same time, the
	// connection ends.
	CheckEvery time.Duration

	// Logger gets a line when the connection is lost and when it is back, and one at
	// level debug for each attempt that fails meanwhile. Nil: silent.
	Logger *slog.Logger
}

// A Listener holds a connection that listens. [Listen] makes one. It is safe for
// concurrent use by multiple goroutines.
type Listener struct {
	cfg       Config
	conn      *pgx.ConnConfig
	notified  func(payload string)
	connected atomic.Bool
	stop      context.CancelFunc
	running   sync.WaitGroup
}

// Listen connects to the database, now and after every loss of the connection, and
// calls notified until Close: with no payload after each connect, since nobody knows
// what was missed, and with the payload of each notification. Notified must return
// soon; sqlindex.Index.Notified does. Listen does not wait for the connection, and
// copies its configuration, which comes from pgx.ParseConfig.
func Listen(conn *pgx.ConnConfig, notified func(payload string), cfg Config) *Listener {
	if cfg.CheckEvery <= 0 {
		cfg.CheckEvery = 15 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &Listener{cfg: cfg, conn: conn.Copy(), notified: notified, stop: stop}
	l.running.Go(func() { l.run(ctx) })
	return l
}

// Connected reports whether the listener listens at present.
func (l *Listener) Connected() bool { return l.connected.Load() }

// Close ends the listener, and waits for it. It may be called more than once.
func (l *Listener) Close() {
	l.stop()
	l.running.Wait()
}

const (
	minWait = 50 * time.Millisecond
	maxWait = 5 * time.Second
)

// run connects again and again, at intervals that grow while it fails.
func (l *Listener) run(ctx context.Context) {
	wait, level := minWait, slog.LevelWarn
	for ctx.Err() == nil {
		err := l.listen(ctx)
		if l.connected.Swap(false) {
			wait, level = minWait, slog.LevelWarn
		}
		if ctx.Err() != nil {
			return
		}
		l.cfg.Logger.Log(ctx, level, "there is no connection that listens for changes", "error", err.Error())
		level = slog.LevelDebug
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2)): // many listeners lose a database at once
		}
		wait = min(2*wait, maxWait)
	}
}

// listen connects, and listens until the connection is lost.
func (l *Listener) listen(ctx context.Context) error {
	dial, cancel := context.WithTimeout(ctx, l.cfg.CheckEvery)
	defer cancel()
	conn, err := pgx.ConnectConfig(dial, l.conn)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		conn.Close(closing)
	}()
	if _, err := conn.Exec(dial, "LISTEN "+channel); err != nil {
		return err
	}
	l.connected.Store(true)
	l.cfg.Logger.Info("listening for changes")
	l.notified("") // of what was changed before
	for {
		if err := l.next(ctx, conn); err != nil {
			return err
		}
	}
}

// next waits for a notification, or checks the connection: it would wait for ever on one
// that was cut without a word.
func (l *Listener) next(ctx context.Context, conn *pgx.Conn) error {
	wait, cancel := context.WithTimeout(ctx, l.cfg.CheckEvery)
	defer cancel()
	notification, err := conn.WaitForNotification(wait)
	switch {
	case err == nil:
		l.notified(notification.Payload)
		return nil
	case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) && !conn.IsClosed():
		check, cancel := context.WithTimeout(ctx, l.cfg.CheckEvery)
		defer cancel()
		return conn.Ping(check)
	default:
		return err
	}
}
