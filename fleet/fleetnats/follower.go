package fleetnats

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/svctoken/svctoken/fleet/fleetlog"
)

const (
	// idle is how long a follower may be silent before it counts as dead: the shortest
	// time that the client offers. A node also notices by itself that a heartbeat is not
	// delivered.
	pullExpiry = 10 * time.Second
	idle       = 2 * time.Second

	// inactive is how long the server keeps the consumer of a node that died.
	inactive = 30 * time.Second

	// recheck is how often a follower checks that the stream is still configured as a log
	// must be.
	recheck = 10 * time.Second
)

// Follow implements fleetlog.Log. Its consumer lives in the memory of one server. It ends
// when the stream is deleted, and counts from one again when its server is restarted:
// either way the follower fails, and never continues in a log that was replaced. The
// consumer has a name, so that a request which is sent again creates no second one.
func (l *Log) Follow(ctx context.Context, from fleetlog.Position) (fleetlog.Follower, error) {
	if err := l.verify(ctx); err != nil {
		return nil, err
	}
	consumer, err := l.js.CreateConsumer(ctx, l.stream(), jetstream.ConsumerConfig{
		Name:              "fleet_" + rand.Text(),
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       uint64(max(from, 1)),
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: inactive,
	})
	if err != nil {
		return nil, fmt.Errorf("fleetnats: follow: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(idle))
	if err != nil {
		return nil, fmt.Errorf("fleetnats: follow: %w", err)
	}
	return &follower{log: l, name: consumer.CachedInfo().Name, messages: messages, last: max(from, 1) - 1, checked: time.Now()}, nil
}

type follower struct {
	log       *Log
	name      string
	messages  jetstream.MessagesContext
	last      fleetlog.Position // delivered last
	delivered uint64            // how many messages
	checked   time.Time         // when the stream was verified last
}

// Next implements fleetlog.Follower.
func (f *follower) Next(ctx context.Context) (fleetlog.Message, error) {
	msg, err := f.messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return fleetlog.Message{}, fmt.Errorf("fleetnats: follow: %w", err)
	}
	meta, err := msg.Metadata()
	if err != nil {
		return fleetlog.Message{}, fmt.Errorf("fleetnats: follow: %w", err)
	}
	// The client drops messages if this program is slow, and reports that elsewhere. A
	// consumer that lost its state with its server counts from one again.
	if f.delivered++; meta.Sequence.Consumer != f.delivered {
		return fleetlog.Message{}, fmt.Errorf("fleetnats: follow: message %d of the consumer came as its %d", meta.Sequence.Consumer, f.delivered)
	}
	m := f.log.message(msg.Subject(), meta.Sequence.Stream, msg.Headers(), msg.Data())
	if m.Position <= f.last {
		return fleetlog.Message{}, fmt.Errorf("fleetnats: follow: position %d came after %d", m.Position, f.last)
	}
	if time.Since(f.checked) > recheck {
		f.checked = time.Now()
		if err := f.log.verify(ctx); errors.Is(err, ErrStream) {
			return fleetlog.Message{}, err // the node notices any other error soon enough
		}
	}
	m.Skipped = m.Position != f.last+1
	f.last = m.Position
	return m, nil
}

// Close implements fleetlog.Follower. The server deletes the consumer at once if the
// request reaches it, and otherwise after a while.
func (f *follower) Close() {
	f.messages.Stop()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		f.log.js.DeleteConsumer(ctx, f.log.stream(), f.name)
	}()
}
