//go:build linux

package processes_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/svctoken/svctoken/fleet/fleetnats"
)

// A serverState is the cluster as a server sees it.
type serverState struct {
	JetStream bool // false once it has run out of disk
	Leads     bool // the stream
	Whole     bool // it leads the stream, and the other servers have all of it
	Consumers int  // that live on this server
	Peers     int  // it leads the cluster's own log, with so many members
}

// runServer runs a NATS server. It shuts down in order at a SIGTERM.
func runServer(c config, l net.Listener) error {
	o := &server.Options{
		ServerName: c.Name, Host: c.Server.Host, Port: clientPort,
		JetStream: true, StoreDir: c.Server.Dir, SyncAlways: true, JetStreamMaxStore: 64 << 20, JetStreamMaxMemory: 64 << 20,
		WriteDeadline: 2 * time.Second, // a client that is slower than that is a slow consumer
		NoSigs:        true, NoLog: true,
		Cluster: server.ClusterOpts{
			Name: "svctoken", Host: c.Server.Host, Port: routePort, NoAdvertise: true,
			// An address where nobody listens: servers must not find each other past the
			// proxies.
			Advertise:    "127.0.0.1:1",
			PingInterval: time.Second,
		},
	}
	for _, route := range c.Server.Routes {
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: route})
	}
	s, err := server.NewServer(o)
	if err != nil {
		return err
	}
	s.Start()
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	go func() {
		<-terminated
		s.Shutdown()
		s.WaitForShutdown()
		os.Exit(0)
	}()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		state, err := stateOf(s, c.Server.Servers)
		reply(w, state, err)
	})
	mux.HandleFunc("POST /recreate", func(w http.ResponseWriter, r *http.Request) {
		reply(w, true, recreateStream(r.Context(), s, c.Server.Servers))
	})
	mux.HandleFunc("POST /operate/{command}", func(w http.ResponseWriter, r *http.Request) {
		reply(w, true, operate(r.Context(), s, r.PathValue("command")))
	})
	return http.Serve(l, mux)
}

func stateOf(s *server.Server, servers int) (serverState, error) {
	state := serverState{JetStream: s.JetStreamEnabled()}
	if !state.JetStream {
		return state, nil
	}
	if s.JetStreamIsLeader() {
		state.Peers = len(s.JetStreamClusterPeers())
	}
	info, err := s.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Consumer: true})
	if err != nil {
		return state, err
	}
	for _, a := range info.AccountDetails {
		for _, stream := range a.Streams {
			if stream.Name != "KV_"+bucket {
				continue
			}
			state.Leads = stream.Cluster != nil && stream.Cluster.Leader == s.Name()
			state.Whole = state.Leads && len(stream.Cluster.Replicas) == servers-1
			for _, replica := range stream.Cluster.Replicas {
				state.Whole = state.Whole && replica.Current && !replica.Offline
			}
			for _, consumer := range stream.Consumer {
				if consumer.Cluster != nil && consumer.Cluster.Leader == s.Name() {
					state.Consumers++
				}
			}
		}
	}
	return state, nil
}

// operator connects as an operator does.
func operator(s *server.Server) (*nats.Conn, jetstream.JetStream, error) {
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	return nc, js, err
}

// recreateStream deletes the log and makes it anew.
func recreateStream(ctx context.Context, s *server.Server, servers int) error {
	nc, js, err := operator(s)
	if err != nil {
		return err
	}
	defer nc.Close()
	if err := js.DeleteStream(ctx, "KV_"+bucket); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	_, err = fleetnats.Open(ctx, nc, fleetnats.Config{Replicas: servers, Bucket: bucket})
	return err
}
