package natstest_test

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svctoken/svctoken/fleet"
	fleetnats "github.com/svctoken/svctoken/fleet/nats"
)

// TestReadLosesSome: a view of which a part was lost on its way is an error, whichever
// part that is. A stand-in answers for JetStream.
func TestReadLosesSome(t *testing.T) {
	s, err := server.NewServer(&server.Options{Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	answer(t, nc, "$JS.API.STREAM.INFO.KV_test", func(m *nats.Msg) {
		data, err := json.Marshal(jetstream.StreamInfo{Config: jetstream.StreamConfig{
			Name: "KV_test", Subjects: []string{"$KV.test.>"}, Storage: jetstream.FileStorage, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew,
			AllowDirect: true, AllowMsgTTL: true, DenyDelete: true, DenyPurge: true, Duplicates: time.Minute,
		}})
		if err != nil {
			t.Error(err)
		}
		m.Respond(data)
	})
	var lost atomic.Int64
	answer(t, nc, "$JS.API.DIRECT.GET.KV_test", func(m *nats.Msg) {
		for i := 1; i <= 3; i++ {
			part := nats.NewMsg(m.Reply)
			for name, value := range map[string]any{"Nats-Subject": fmt.Sprint("$KV.test.node.x.", i), "Nats-Sequence": i, "Nats-Last-Sequence": i - 1} {
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

func answer(t *testing.T, nc *nats.Conn, subject string, deliver nats.MsgHandler) {
	t.Helper()
	if _, err := nc.Subscribe(subject, deliver); err != nil {
		t.Fatal(err)
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
	pos, err := e.Append(t.Context(), fleet.Entry{Key: "doc.a.b.d", ID: "d"})
	if err != nil {
		t.Fatal(err)
	}
	view, err := e.Read(t.Context(), "doc.*")
	if err != nil || len(view.Messages) != 2 || view.Messages["doc.a.b.c"].Position != pos-1 || view.Messages["doc.a.b.d"].Position != pos {
		t.Errorf("got %+v, %v", view, err)
	}
}
