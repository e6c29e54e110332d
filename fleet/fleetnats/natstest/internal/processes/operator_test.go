//go:build linux

package processes_test

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// These faults are changes that an operator may make with the tools of NATS.

// operate carries out a command at a server.
func operate(ctx context.Context, s *server.Server, command string) error {
	nc, js, err := operator(s)
	if err != nil {
		return err
	}
	defer nc.Close()
	const name = "KV_" + bucket
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return err
	}
	switch command {
	case "delete-consumers":
		names := stream.ConsumerNames(ctx)
		for consumer := range names.Name() {
			if err := stream.DeleteConsumer(ctx, consumer); err != nil {
				return err
			}
		}
		return names.Err()
	case "step-down":
		_, err := nc.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+name, nil)
		return err
	case "one-replica", "three-replicas":
		c := stream.CachedInfo().Config
		c.Replicas = map[string]int{"one-replica": 1, "three-replicas": 3}[command]
		_, err := js.UpdateStream(ctx, c)
		return err
	case "mirror":
		documents := jetstream.SubjectTransformConfig{Source: "$KV." + bucket + ".doc.>", Destination: "$KV." + bucket + ".doc.>"}
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "mirror", Storage: jetstream.FileStorage, Replicas: 3,
			Mirror: &jetstream.StreamSource{Name: name, SubjectTransforms: []jetstream.SubjectTransformConfig{documents}}})
		return err
	case "no-mirror":
		return js.DeleteStream(ctx, "mirror")
	case "unknown-record":
		_, err := js.Publish(ctx, "$KV."+bucket+".later."+rand.Text(), []byte(`{"later":true}`), jetstream.WithMsgTTL(time.Minute))
		return err
	}
	return fmt.Errorf("there is no command %s", command)
}

// operate makes one of the servers carry out a command, and tries again while that fails.
func (w *world) operate(command string) {
	w.t.Helper()
	w.until(time.Minute, "an operator's command "+command+" is carried out", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return w.servers[w.rng.IntN(len(w.servers))].ask(ctx, "POST", "/operate/"+command, new(bool)) == nil
	})
}

func (w *world) deleteConsumers() string {
	for range 3 {
		w.operate("delete-consumers")
		w.wait(w.rng.Float64() / 2)
	}
	return ""
}

func (w *world) stepDown() string {
	for range 3 {
		w.operate("step-down")
		w.wait(w.rng.Float64() / 2)
	}
	return ""
}

// wipeServer removes a server's files, while the others have everything that it had. The
// server comes back once one of them leads: before that, its vote could elect one that
// lags.
func (w *world) wipeServer() string {
	i := w.rng.IntN(len(w.servers))
	w.servers[i].kill()
	w.must(empty(w.storeDir(serverNames[i])))
	w.until(time.Minute, "another server leads", func() bool {
		for _, s := range w.servers {
			var state serverState
			if s.query("/state", &state) == nil && state.Leads {
				return true
			}
		}
		return false
	})
	w.wait(w.rng.Float64())
	return ""
}

func (w *world) oneReplica() string {
	w.operate("one-replica")
	w.wait(0.5 + w.rng.Float64())
	w.operate("three-replicas")
	return ""
}

// mirror makes, for a while, a copy of the stream that answers the log's reads and lacks
// the nodes' heartbeats.
func (w *world) mirror() string {
	w.operate("mirror")
	w.wait(1 + w.rng.Float64())
	w.operate("no-mirror")
	return ""
}

func (w *world) unknownRecords() string {
	for range 5 {
		w.operate("unknown-record")
		w.wait(w.rng.Float64() / 5)
	}
	return ""
}

var later = flag.Bool("later", false, "let one node of each fleet be of a later version of the code")

// laterBinary is this test with a later version of package fleet; empty: there is none.
var laterBinary string

// laterVersion makes it: it knows one more version, and its heartbeats have a field that
// the others do not know.
var laterVersion = []edit{
	{"fleet/node.go", "		cfg.version = version\n", "		cfg.version = version + 1\n"},
	{"fleet/record.go", "type heartbeat struct {\n", "type heartbeat struct {\n	Later int `json:\"later\"`\n"},
}

func buildLater(t *testing.T) {
	t.Helper()
	if *later {
		laterBinary = build(t, laterVersion...)
	}
}
