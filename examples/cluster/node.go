package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/svctoken/svctoken/examples/authserver/server"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetnats"
)

// A natsConfig says how to reach NATS, and which log to use there.
type natsConfig struct {
	creds, ca, cert, key string
	log                  fleetnats.Config
}

func (c *natsConfig) register(flags *flag.FlagSet) {
	flags.StringVar(&c.creds, "nats-creds", "", "credentials file for NATS (default: what the URL says)")
	flags.StringVar(&c.ca, "nats-ca", "", "file with the certificate authorities of the NATS servers, PEM (default: the system's; TLS if a server asks for it)")
	flags.StringVar(&c.cert, "nats-cert", "", "file with the client's certificate for NATS, PEM")
	flags.StringVar(&c.key, "nats-key", "", "file with the key of -nats-cert, PEM")
	flags.StringVar(&c.log.Bucket, "bucket", "svctoken", "name of the log: the key-value bucket that holds it")
	flags.IntVar(&c.log.Replicas, "replicas", 3, "how many NATS servers keep the log, if it is made here")
	flags.BoolVar(&c.log.Existing, "existing", false, "join a log that exists, and make none")
}

// options returns the options of the connection.
func (c natsConfig) options() ([]nats.Option, error) {
	opts := reconnecting()
	if c.creds != "" {
		opts = append(opts, nats.UserCredentials(c.creds))
	}
	if c.ca != "" {
		opts = append(opts, nats.RootCAs(c.ca))
	}
	if (c.cert == "") != (c.key == "") {
		return nil, errors.New("-nats-cert and -nats-key come together")
	}
	if c.cert != "" {
		opts = append(opts, nats.ClientCert(c.cert, c.key))
	}
	return opts, nil
}

// reconnecting returns options for a connection that never gives up, and that notices
// within seconds that it is dead.
func reconnecting() []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.PingInterval(2 * time.Second), nats.MaxPingsOutstanding(2), nats.Timeout(2 * time.Second),
	}
}

// runNode runs one auth server with a log, which it creates if it is missing.
func (c *config) runNode(ctx context.Context, o server.Options) error {
	urls, err := fromFile(c.join)
	if err != nil {
		return fmt.Errorf("-join: %w", err)
	}
	opts, err := c.nats.options()
	if err != nil {
		return err
	}
	nc, err := nats.Connect(urls, append(opts, nats.Name(o.Name))...)
	if err != nil {
		return fmt.Errorf("-join: %w", err)
	}
	defer nc.Close()
	log, err := openLog(ctx, nc, c.nats.log)
	if err != nil {
		return err
	}
	return server.RunFleet(ctx, o, server.Fleet{
		Log: log, Kind: "NATS JetStream, bucket " + c.nats.log.Bucket, Config: fleet.Config{Lease: c.lease},
	})
}

func openLog(ctx context.Context, nc *nats.Conn, cfg fleetnats.Config) (*fleetnats.Log, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return fleetnats.Open(ctx, nc, cfg)
}

// fromFile returns the text, or the content of a file if the text is @ and its path: a
// URL may hold a password, and other users of the machine can read a process's arguments.
func fromFile(text string) (string, error) {
	path, ok := strings.CutPrefix(text, "@")
	if !ok {
		return text, nil
	}
	content, err := os.ReadFile(path)
	return strings.TrimSpace(string(content)), err
}
