package fleetnats

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/svctoken/svctoken/fleet"
)

const (
	// idle is how long a follower may be silent until it is taken for dead. It is
	// the fastest that the client offers; a node notices by itself where a
	// heartbeat does not come by.
	pullExpiry = 10 * time.Second
	idle       = 2 * time.Second

	// inactive is after how long the server forgets a consumer of a node that died.
	inactive = 30 * time.Second
)

// Follow implements fleet.Engine. Its consumer lives in the memory of one server, so
// that it ends when the stream is deleted, and begins anew, counting from one, when
// its server is restarted: either way the follower fails, and never goes on in a log
// that was replaced. It has a name, so that a request which is sent again makes no
// second one.
func (e *Engine) Follow(ctx context.Context, from fleet.Position) (fleet.Follower, error) {
	consumer, err := e.js.CreateConsumer(ctx, e.stream(), jetstream.ConsumerConfig{
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
	return &follower{engine: e, name: consumer.CachedInfo().Name, messages: messages, last: max(from, 1) - 1}, nil
}

type follower struct {
	engine    *Engine
	name      string
	messages  jetstream.MessagesContext
	last      fleet.Position // delivered last
	delivered uint64         // how many messages
}

// Next implements fleet.Follower.
func (f *follower) Next(ctx context.Context) (fleet.Message, error) {
	msg, err := f.messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return fleet.Message{}, fmt.Errorf("fleetnats: follow: %w", err)
	}
	meta, err := msg.Metadata()
	if err != nil {
		return fleet.Message{}, fmt.Errorf("fleetnats: follow: %w", err)
	}
	// The client drops messages where it is slow, and says so elsewhere; and a
	// consumer that lost its state with its server begins anew.
	if f.delivered++; meta.Sequence.Consumer != f.delivered {
		return fleet.Message{}, fmt.Errorf("fleetnats: follow: message %d of the consumer came as its %d", meta.Sequence.Consumer, f.delivered)
	}
	m := f.engine.message(msg.Subject(), meta.Sequence.Stream, msg.Headers(), msg.Data())
	if m.Position <= f.last {
		return fleet.Message{}, fmt.Errorf("fleetnats: follow: position %d came after %d", m.Position, f.last)
	}
	m.Skipped = m.Position != f.last+1
	f.last = m.Position
	return m, nil
}

// Close implements fleet.Follower. The server forgets the consumer at once where it
// can be told, and after a while where not.
func (f *follower) Close() {
	f.messages.Stop()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		f.engine.js.DeleteConsumer(ctx, f.engine.stream(), f.name)
	}()
}
