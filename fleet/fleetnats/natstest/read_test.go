package natstest_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetnats"
)

// TestReadLosesSome: a view that has lost a part on its way is an error, whichever
// part that is. A stand-in answers for JetStream.
func TestReadLosesSome(t *testing.T) {
	nc := standIn(t, func() jetstream.StreamConfig { return goodStream })
	var lost atomic.Int64
	answer(t, nc, "$JS.API.DIRECT.GET.KV_test", func(m *nats.Msg) {
		for i := 1; i <= 3; i++ {
			part := nats.NewMsg(m.Reply)
			for name, value := range map[string]any{"Nats-Stream": "KV_test", "Nats-Subject": fmt.Sprint("$KV.test.node.x.", i), "Nats-Sequence": i, "Nats-Last-Sequence": i - 1} {
				part.Header.Set(name, fmt.Sprint(value))
			}
			if i != int(lost.Load()) {
				nc.PublishMsg(part)
			}
		}
		end := nats.NewMsg(m.Reply)
		for name, value := range map[string]string{"Status": "204", "Nats-Num-Pending": "0", "Nats-Last-Sequence": "3", "Nats-UpTo-Sequence": "9"} {
			end.Header.Set(name, value)
		}
		nc.PublishMsg(end)
	})
	e, err := fleetnats.Open(t.Context(), nc, fleetnats.Config{Bucket: "test", Existing: true})
	if err != nil {
		t.Fatal(err)
	}
	for part := range 4 {
		lost.Store(int64(part))
		if view, err := e.Read(t.Context(), "node.*"); (err == nil) != (part == 0) {
			t.Errorf("with part %d lost: %d messages, %v", part, len(view.Messages), err)
		}
	}
}

// TestWritersHeaders: a writer's headers do not pass for those that the server adds.
func TestWritersHeaders(t *testing.T) {
	e := connect(t, cluster(t, 1), 0, 1, "test")
	msg := nats.NewMsg("$KV.test.doc.a.b.c")
	for name, value := range map[string]string{"Nats-Subject": "$KV.test.meta", "Nats-Sequence": "77", "Nats-Last-Sequence": "76"} {
		msg.Header.Set(name, value)
	}
	if _, err := e.nc.RequestMsg(msg, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	pos, err := e.Append(t.Context(), fleetlog.Entry{Key: "doc.a.b.d", ID: "d"})
	if err != nil {
		t.Fatal(err)
	}
	view, err := e.Read(t.Context(), "doc.*")
	if err != nil || len(view.Messages) != 2 || view.Messages["doc.a.b.c"].Position != pos-1 || view.Messages["doc.a.b.d"].Position != pos {
		t.Errorf("got %+v, %v", view, err)
	}
}
