package natstest_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/svctoken/svctoken/fleet"
)

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
