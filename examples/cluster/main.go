// Command cluster shows that an eviction holds on every server of a fleet once it has
// returned, whatever breaks meanwhile.
//
//	go run -C examples/cluster .
//
// It starts three NATS servers and three auth servers, those of examples/authserver with
// their index and their evictions in a log that NATS keeps. It creates tokens on one,
// authenticates on all, evicts and revokes; ends the NATS server that leads, cuts an auth
// server off, heals it, lets one die, and cuts two off one way each: what one sends is
// lost, and the other hears nothing. It prints what each auth server answered and when.
// It exits with 0 if no request was confirmed that was sent after the revocation or the
// eviction of its token had returned. That takes about a minute.
//
//	go run -C examples/cluster . -serve
//
// leaves the servers up, for curl and for the page. To make a fleet by hand, start auth
// servers on terminals of their own, with NATS servers of yours, or with those that
// -serve has printed:
//
//	go run -C examples/cluster . -join nats://127.0.0.1:4222 -listen 127.0.0.1:9201 -name node1
//
// NATS needs JetStream, and sync_interval: always on each server, see docs/fleet.md.
// The other flags, and the requests, are those of examples/authserver.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/svctoken/svctoken/examples/authserver/server"
)

func main() {
	var o server.Options
	var c config
	c.register(flag.CommandLine)
	server.Main("cluster", &o, func(ctx context.Context) error {
		set := map[string]bool{}
		flag.Visit(func(f *flag.Flag) { set[f.Name] = true })
		return c.run(ctx, o, set)
	})
}

// A config has the values of this program's flags.
type config struct {
	join    string
	serve   bool
	verbose bool
	maxWait time.Duration
	lease   time.Duration
	nats    natsConfig

	at func(scene string, s *show) // called during the scenes; set by tests
}

func (c *config) register(flags *flag.FlagSet) {
	flags.StringVar(&c.join, "join", "", "URLs of NATS servers, comma-separated, whose log to join as one auth server, or @FILE that holds them (default: start all, and show what happens)")
	flags.BoolVar(&c.serve, "serve", false, "leave the servers up after the show")
	flags.BoolVar(&c.verbose, "v", false, "log what the auth servers of the show log")
	flags.DurationVar(&c.maxWait, "max-wait", 0, "how long a request waits for other nodes (default: 30s, or twice -lease if that is longer); one that is answered earlier names nodes that may be behind")
	flags.DurationVar(&c.lease, "lease", 10*time.Second, "how long a node may answer without having heard of the log; for the first node of a log")
	c.nats.register(flags)
}

// run joins a fleet, or shows one.
func (c *config) run(ctx context.Context, o server.Options, set map[string]bool) error {
	if o.MaxWait = c.maxWait; o.MaxWait <= 0 {
		o.MaxWait = max(30*time.Second, 2*c.lease)
	}
	if c.join != "" {
		return c.runNode(ctx, o)
	}
	if !set["listen"] {
		o.Listen = "127.0.0.1:0"
	}
	if !set["name"] {
		o.Name = "node"
	}
	if o.Log = os.Stderr; !c.verbose {
		o.Log = io.Discard
	}
	s, err := newShow(c, o, os.Stdout)
	if err != nil {
		return err
	}
	defer s.close()
	err = s.run(ctx)
	if n := len(s.violations()); n > 0 {
		err = errors.Join(fmt.Errorf("%d answers confirmed what was revoked", n), err)
	}
	if err != nil {
		return err
	}
	if c.serve {
		s.invite()
		<-ctx.Done()
	}
	return nil
}
