package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/svctoken/svctoken/examples/authserver/server"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetnats/natstest"
)

const servers = 3

// A stage is three NATS servers in this process, and three auth servers, each with a
// proxy between it and NATS.
type stage struct {
	c    *config
	o    server.Options
	dir  string
	nats *natstest.Cluster
	told func(name string, e fleet.Event) // by each auth server

	nodes [servers]*node // nil: dead
	urls  [servers]string
}

// A node is an auth server.
type node struct {
	proxy *natstest.Proxy
	nc    *nats.Conn
	stop  context.CancelFunc
	ended chan error // receives once
}

// newStage starts the NATS servers, and the auth servers one after the other.
func newStage(c *config, o server.Options, told func(string, fleet.Event)) (*stage, error) {
	dir, err := os.MkdirTemp("", "svctoken-cluster-")
	if err != nil {
		return nil, err
	}
	st := &stage{c: c, o: o, told: told, dir: dir}
	st.nats, err = natstest.Start(dir, servers)
	for i := 0; i < servers && err == nil; i++ {
		err = st.start(i)
	}
	if err != nil {
		st.close()
		return nil, err
	}
	return st, nil
}

func (st *stage) name(i int) string { return fmt.Sprintf("%s%d", st.o.Name, i+1) }

// listen returns the address at which a node listens. If a port is given, the nodes take
// it and the next ones.
func (st *stage) listen(i int) (string, error) {
	if st.urls[i] != "" { // the address that it had before it died
		return hostOf(st.urls[i]), nil
	}
	host, port, err := net.SplitHostPort(st.o.Listen)
	if err != nil {
		return "", fmt.Errorf("-listen: %w", err)
	}
	if number, err := strconv.Atoi(port); err == nil && number > 0 {
		port = strconv.Itoa(number + i)
	}
	return net.JoinHostPort(host, port), nil
}

// start starts an auth server, which prefers the NATS server with its number.
func (st *stage) start(i int) (err error) {
	n := &node{ended: make(chan error, 1)}
	n.proxy, err = natstest.NewProxy(func() []string {
		var targets []string
		for j := range servers {
			targets = append(targets, st.nats.Address((i+j)%servers))
		}
		return targets
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if n.nc, err = nats.Connect(n.proxy.URL(), append(reconnecting(), nats.Name(st.name(i)))...); err != nil {
		return err
	}
	log, err := openLog(context.Background(), n.nc, st.c.nats.log)
	if err != nil {
		return err
	}
	o := st.o
	if o.Name = st.name(i); i > 0 {
		o.MaxWait = st.c.lease / 4 // so that some answers come before a lease has passed
	}
	if o.Listen, err = st.listen(i); err != nil {
		return err
	}
	ready := make(chan string, 1)
	o.Ready = func(url string) { ready <- url }
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	go func() {
		n.ended <- server.RunFleet(ctx, o, server.Fleet{
			Log: log, Kind: "NATS JetStream, bucket " + st.c.nats.log.Bucket,
			Config: fleet.Config{Lease: st.c.lease, Observer: func(e fleet.Event) { st.told(o.Name, e) }},
		})
	}()
	select {
	case st.urls[i] = <-ready:
		st.nodes[i] = n
		return nil
	case err = <-n.ended:
		n.stop = nil
		return cmp.Or(err, context.Canceled)
	}
}

// close stops the auth server and its connections.
func (n *node) close() (err error) {
	if n.stop != nil {
		n.stop()
		err = <-n.ended
	}
	if n.nc != nil {
		n.nc.Close()
	}
	n.proxy.Close()
	return err
}

// cut cuts a node off from NATS: nothing that it sends arrives, and nothing reaches it.
func (st *stage) cut(i int) { st.nodes[i].proxy.Cut(true, true) }

// cutSending cuts the direction from a node, and cutHearing the one to it.
func (st *stage) cutSending(i int) { st.nodes[i].proxy.Cut(true, false) }
func (st *stage) cutHearing(i int) { st.nodes[i].proxy.Cut(false, true) }

func (st *stage) heal(i int) { st.nodes[i].proxy.Heal() }

// kill ends an auth server so that it cannot tell the others, and returns at once: a
// server may need seconds to end, more than is left of its lease. The function that it
// returns waits for the end.
func (st *stage) kill(i int) (wait func() error) {
	st.cut(i)
	ended := make(chan error, 1)
	n := st.nodes[i]
	st.nodes[i] = nil
	go func() { ended <- n.close() }()
	return func() error { return <-ended }
}

// leader waits until a NATS server leads the log, and returns its number.
func (st *stage) leader(ctx context.Context) (int, error) {
	for {
		if i := st.nats.StreamLeader("KV_" + st.c.nats.log.Bucket); i >= 0 {
			return i, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// close ends everything, the auth servers all at once.
func (st *stage) close() error {
	var all sync.WaitGroup
	var errs [servers]error
	for i, n := range st.nodes {
		if n == nil {
			continue
		}
		n.proxy.Heal()
		all.Go(func() { errs[i] = n.close() })
	}
	all.Wait()
	if st.nats != nil {
		st.nats.Stop()
	}
	return cmp.Or(errs[0], errs[1], errs[2], os.RemoveAll(st.dir))
}
