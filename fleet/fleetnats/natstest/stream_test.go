package natstest_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svctoken/svctoken/fleet/fleetnats"
)

// TestOpenChecksTheStream: each way to configure the stream that breaks the contract is
// refused.
func TestOpenChecksTheStream(t *testing.T) {
	var mu sync.Mutex // guards config
	config := goodStream
	nc := standIn(t, func() jetstream.StreamConfig {
		mu.Lock()
		defer mu.Unlock()
		return config
	})
	open := func(breakIt func(*jetstream.StreamConfig)) error {
		mu.Lock()
		config = goodStream
		breakIt(&config)
		mu.Unlock()
		_, err := fleetnats.Open(t.Context(), nc, fleetnats.Config{Bucket: "test"})
		return err
	}
	if err := open(func(*jetstream.StreamConfig) {}); err != nil {
		t.Fatal(err)
	}
	for name, breakIt := range map[string]func(*jetstream.StreamConfig){
		"another subject": func(c *jetstream.StreamConfig) { c.Subjects = []string{"$KV.other.>"} },
		"two subjects":    func(c *jetstream.StreamConfig) { c.Subjects = []string{"$KV.test.>", "else"} },
		"subjects change": func(c *jetstream.StreamConfig) {
			c.SubjectTransform = &jetstream.SubjectTransformConfig{Source: ">", Destination: "x.>"}
		},
		"memory":            func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"synced later":      func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"not acknowledged":  func(c *jetstream.StreamConfig) { c.NoAck = true },
		"a history":         func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 },
		"a queue":           func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
		"the old discarded": func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"a maximal age":     func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"no direct gets":    func(c *jetstream.StreamConfig) { c.AllowDirect = false },
		"no TTL":            func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false },
		"deletion":          func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"purges":            func(c *jetstream.StreamConfig) { c.DenyPurge = false },
		"roll-ups":          func(c *jetstream.StreamConfig) { c.AllowRollup = true },
		"a mirror":          func(c *jetstream.StreamConfig) { c.Mirror = &jetstream.StreamSource{Name: "else"} },
		"sources":           func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "else"}} },
		"a short window":    func(c *jetstream.StreamConfig) { c.Duplicates = time.Second },
	} {
		if err := open(breakIt); err == nil || !strings.HasPrefix(err.Error(), fleetnats.ErrStream.Error()+": stream KV_test: it") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// goodStream is a configuration that Open accepts for bucket test.
var goodStream = jetstream.StreamConfig{
	Name: "KV_test", Subjects: []string{"$KV.test.>"}, Storage: jetstream.FileStorage, MaxMsgsPerSubject: 1, Discard: jetstream.DiscardNew,
	AllowDirect: true, AllowMsgTTL: true, DenyDelete: true, DenyPurge: true, Duplicates: time.Minute,
}

// standIn connects to a server without JetStream, where a stand-in answers with the
// configuration of bucket test's stream.
func standIn(t *testing.T, config func() jetstream.StreamConfig) *nats.Conn {
	t.Helper()
	s := serve(t, &server.Options{})
	nc, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	answer(t, nc, "$JS.API.STREAM.INFO.KV_test", func(m *nats.Msg) {
		data, err := json.Marshal(jetstream.StreamInfo{Config: config()})
		if err != nil {
			t.Error(err)
		}
		m.Respond(data)
	})
	return nc
}

// serve starts a server on a port of its own.
func serve(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	options.Port, options.NoLog, options.NoSigs = -1, true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Shutdown)
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s
}

func answer(t *testing.T, nc *nats.Conn, subject string, deliver nats.MsgHandler) {
	t.Helper()
	if _, err := nc.Subscribe(subject, deliver); err != nil {
		t.Fatal(err)
	}
}
