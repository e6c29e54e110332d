// Package natstest runs NATS servers with JetStream inside a process, for tests and
// examples, and proxies that cut their clients off.
package natstest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Cluster is a number of servers that keep a log together. Its methods are not safe for
// concurrent use.
type Cluster struct {
	servers []*server.Server // nil: stopped
	options []server.Options
	dir     string
}

// Start starts n servers, which keep their files under dir and sync each write.
func Start(dir string, n int) (*Cluster, error) {
	ports, err := freePorts(2 * n)
	if err != nil {
		return nil, err
	}
	c := &Cluster{servers: make([]*server.Server, n), dir: dir}
	var routes []*url.URL
	for i := range n {
		routes = append(routes, &url.URL{Scheme: "nats", Host: "127.0.0.1:" + strconv.Itoa(ports[n+i])})
	}
	for i := range n {
		o := server.Options{
			ServerName: fmt.Sprintf("server%d", i), Host: "127.0.0.1", Port: ports[i],
			JetStream: true, StoreDir: filepath.Join(dir, strconv.Itoa(i)), SyncAlways: true,
			NoLog: true, NoSigs: true,
		}
		if n > 1 {
			o.Cluster = server.ClusterOpts{Name: "svctoken", Host: "127.0.0.1", Port: ports[n+i], NoAdvertise: true}
			o.Routes = routes
		}
		c.options = append(c.options, o)
	}
	for i := range n {
		if err := c.StartServer(i); err != nil {
			c.Stop()
			return nil, err
		}
	}
	return c, c.wait()
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// StartServer starts a server that was stopped.
func (c *Cluster) StartServer(i int) error {
	s, err := server.NewServer(c.options[i].Clone())
	if err != nil {
		return fmt.Errorf("natstest: %w", err)
	}
	s.Start()
	c.servers[i] = s
	if !s.ReadyForConnections(20 * time.Second) {
		return fmt.Errorf("natstest: server %d is not ready", i)
	}
	return nil
}

// StopServer stops a server. Nothing else happens to its files.
func (c *Cluster) StopServer(i int) {
	if s := c.servers[i]; s != nil {
		s.Shutdown()
		s.WaitForShutdown()
		c.servers[i] = nil
	}
}

// Stop stops all servers.
func (c *Cluster) Stop() {
	for i := range c.servers {
		c.StopServer(i)
	}
}

// StartAll starts all servers that were stopped, and waits for a leader.
func (c *Cluster) StartAll() error {
	for i, s := range c.servers {
		if s == nil {
			if err := c.StartServer(i); err != nil {
				return err
			}
		}
	}
	return c.wait()
}

// wait waits until JetStream answers.
func (c *Cluster) wait() error {
	nc, err := nats.Connect(c.URL(0))
	if err != nil {
		return fmt.Errorf("natstest: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("natstest: %w", err)
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err = js.AccountInfo(ctx)
		cancel()
		if err == nil && (len(c.servers) == 1 || c.whole()) {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("natstest: JetStream does not answer: %w", err)
}

// whole reports whether one server leads all the others.
func (c *Cluster) whole() bool {
	for _, s := range c.servers {
		if s != nil && s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == len(c.servers) {
			return true
		}
	}
	return false
}

// URL returns the address of a server.
func (c *Cluster) URL(i int) string { return "nats://" + c.Address(i) }

// Address returns the host and port of a server.
func (c *Cluster) Address(i int) string {
	return net.JoinHostPort(c.options[i].Host, strconv.Itoa(c.options[i].Port))
}

// Len returns how many servers there are, stopped ones included.
func (c *Cluster) Len() int { return len(c.servers) }

// StreamLeader returns the number of the server that leads a stream, or -1.
func (c *Cluster) StreamLeader(stream string) int {
	for i, s := range c.servers {
		if s != nil && s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return i
		}
	}
	return -1
}

// Restore restores the files of the last Backup. The servers must be stopped.
func (c *Cluster) Restore(backup string) error {
	if err := os.RemoveAll(c.dir); err != nil {
		return err
	}
	return os.CopyFS(c.dir, os.DirFS(backup))
}

// Backup copies the files. The servers must be stopped.
func (c *Cluster) Backup(to string) error { return os.CopyFS(to, os.DirFS(c.dir)) }
