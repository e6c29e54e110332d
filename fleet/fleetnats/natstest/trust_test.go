package natstest_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetnats"
	"github.com/svctoken/svctoken/tokencache"
)

// stream returns the client and the stream of a log, for what an operator may do.
func stream(t *testing.T, l *link) (jetstream.JetStream, jetstream.StreamConfig) {
	t.Helper()
	js, err := jetstream.New(l.nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "KV_test")
	if err != nil {
		t.Fatal(err)
	}
	return js, s.CachedInfo().Config
}

// TestMirror: the server lets a mirror of the stream answer direct gets. It may leave
// messages out, so its answers do not count.
func TestMirror(t *testing.T) {
	l := connect(t, cluster(t, 1), 0, 1, "test")
	for i, key := range []string{"meta", "node.a.1", "doc.a.b.c"} {
		appendTo(t, l, fleetlog.Entry{Key: key, ID: fmt.Sprint(i), Value: []byte("x")})
	}
	js, _ := stream(t, l)
	same := func(k string) jetstream.SubjectTransformConfig {
		return jetstream.SubjectTransformConfig{Source: "$KV.test." + k, Destination: "$KV.test." + k}
	}
	mirror := jetstream.StreamConfig{Name: "backup", Storage: jetstream.FileStorage,
		Mirror: &jetstream.StreamSource{Name: "KV_test", SubjectTransforms: []jetstream.SubjectTransformConfig{same("doc.>"), same("meta")}}}
	if _, err := js.CreateStream(t.Context(), mirror); err != nil {
		t.Fatal(err)
	}
	last := appendTo(t, l, fleetlog.Entry{Key: "doc.a.b.d", ID: "d"})
	refused := 0
	for began := time.Now(); refused == 0 && time.Since(began) < 20*time.Second; {
		view, err := l.Read(t.Context(), "meta", "node.*")
		switch {
		case err != nil:
			refused++
		case view.Position >= last && len(view.Messages) != 2:
			t.Fatalf("a mirror without heartbeats has answered for the log: %+v", view)
		}
	}
	if refused == 0 {
		t.Skip("the mirror does not answer")
	}
}

func appendTo(t *testing.T, log fleetlog.Log, entry fleetlog.Entry) fleetlog.Position {
	t.Helper()
	pos, err := log.Append(t.Context(), entry)
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

// TestStreamIsChanged: after a change by which the stream may lose messages, neither an
// old nor a new follower follows it.
func TestStreamIsChanged(t *testing.T) {
	l := connect(t, cluster(t, 1), 0, 1, "test")
	pos := appendTo(t, l, fleetlog.Entry{Key: "start", ID: "start"})
	f, err := l.Follow(t.Context(), pos)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	js, c := stream(t, l)
	c.MaxAge, c.Duplicates = time.Hour, time.Minute
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Follow(t.Context(), pos); !errors.Is(err, fleetnats.ErrStream) {
		t.Errorf("another follower: %v", err)
	}
	for began := time.Now(); ; {
		appendTo(t, l, fleetlog.Entry{Key: "note.x", ID: rest(t)})
		if _, err := f.Next(t.Context()); err != nil {
			if !errors.Is(err, fleetnats.ErrStream) {
				t.Errorf("the follower that there was: %v", err)
			}
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal("the follower goes on")
		}
	}
	c.MaxAge = 0
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if f, err := l.Follow(t.Context(), pos); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
}

// rest waits a moment, and returns a new ID.
func rest(t *testing.T) string {
	select {
	case <-time.After(200 * time.Millisecond):
	case <-t.Context().Done():
	}
	return fmt.Sprint(time.Now().UnixNano())
}

// TestUnfit: a message or a read that the log can never carry out ends with an error that
// says so.
func TestUnfit(t *testing.T) {
	l := connect(t, cluster(t, 1), 0, 1, "test")
	appendTo(t, l, fleetlog.Entry{Key: "meta", ID: "meta"})
	if _, err := l.Append(t.Context(), fleetlog.Entry{Key: "evict.1", ID: "1", Value: make([]byte, 2<<20)}); !errors.Is(err, fleetlog.ErrUnfit) {
		t.Errorf("a message of 2 MB: %v", err)
	}
	js, c := stream(t, l)
	c.MaxMsgSize = 1000
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), fleetlog.Entry{Key: "evict.1", ID: "1", Value: make([]byte, 2000)}); !errors.Is(err, fleetlog.ErrUnfit) {
		t.Errorf("a message that is larger than the stream takes: %v", err)
	}
	for i := range 1030 {
		if _, err := js.PublishAsync(fmt.Sprint("$KV.test.doc.a.b.t", i), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-t.Context().Done():
	}
	if _, err := l.Read(t.Context(), "doc.*"); !errors.Is(err, fleetlog.ErrUnfit) {
		t.Errorf("a read of 1030 keys: %v", err)
	}
}

// TestDomains: a leaf node with a JetStream of its own has a log of its own.
// Config.Domain and fleet.Config.Log tell it from the hub's.
func TestDomains(t *testing.T) {
	run := func(o *server.Options) *nats.Conn {
		o.NoLog, o.NoSigs, o.JetStream, o.StoreDir, o.Host, o.Port = true, true, true, t.TempDir(), "127.0.0.1", -1
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("the server is not ready")
		}
		nc, err := nats.Connect(s.ClientURL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	hubOptions := &server.Options{ServerName: "hub", JetStreamDomain: "hub", LeafNode: server.LeafNodeOpts{Host: "127.0.0.1", Port: freePort(t)}}
	hub := run(hubOptions)
	remote, err := url.Parse(fmt.Sprintf("nats-leaf://127.0.0.1:%d", hubOptions.LeafNode.Port))
	if err != nil {
		t.Fatal(err)
	}
	leaf := run(&server.Options{ServerName: "leaf", JetStreamDomain: "leaf",
		LeafNode: server.LeafNodeOpts{Remotes: []*server.RemoteLeafOpts{{URLs: []*url.URL{remote}}}}})
	open := func(nc *nats.Conn, domain string) fleetlog.Log {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for {
			l, err := fleetnats.Open(ctx, nc, fleetnats.Config{Bucket: "test", Replicas: 1, Domain: domain})
			if err == nil {
				return l
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			rest(t)
		}
	}
	join := func(log fleetlog.Log, name string, cfg fleet.Config) (*fleet.Node, error) {
		group := tokencache.NewGroup(tokencache.GroupConfig{})
		t.Cleanup(group.Close)
		cfg.Name, cfg.Lease = name, 2*time.Second
		n, err := fleet.New(log, group, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.Close)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return n, n.Ready(ctx)
	}
	atHub, err := join(open(hub, ""), "hub", fleet.Config{})
	if err != nil {
		t.Fatal(err)
	}
	identity := atHub.Status().Log
	if n, err := join(open(leaf, ""), "leaf", fleet.Config{Log: identity}); err == nil {
		t.Errorf("a node at the leaf node has joined log %s, and the hub's is %s", n.Status().Log, identity)
	}
	n, err := join(open(leaf, "hub"), "leaf", fleet.Config{Log: identity})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	report, err := n.Evict(ctx, "elastic", "fleet-server", "*")
	if err != nil || len(report.Nodes) < 1 || report.Nodes[0].Name != "hub" {
		t.Errorf("from the leaf node, over the hub's domain: %+v, %v", report, err)
	}
}

// freePort returns a free port of the loopback device.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
