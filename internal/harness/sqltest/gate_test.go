package sqltest

import (
	"context"
	"net"
	"sync"
	"time"
)

// Connections go through a gate. While it is cut, outgoing data, incoming data, or both
// are lost, and no new connection succeeds. Connections from before end when it is
// healed. The nil gate is always open.
type gate struct {
	mu      sync.Mutex    // guards the fields below
	opened  chan struct{} // closed while connections go through
	conns   []*gated      // made since the last cut
	out, in bool          // what is lost while it is cut
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

func (g *gate) state() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}

// cut loses outgoing data, incoming data, or both.
func (g *gate) cut(out, in bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isOpen() {
		g.opened = make(chan struct{})
	}
	g.out, g.in = out, in
}

// isOpen needs the mutex.
func (g *gate) isOpen() bool {
	select {
	case <-g.opened:
		return true
	default:
		return false
	}
}

// loses reports whether the connection loses outgoing data, and incoming data.
func (g *gate) loses(c *gated) (out, in bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opened == c.opened {
		return false, false
	}
	return g.out, g.in
}

// heal may be called for a cut that another one has healed: faults overlap.
func (g *gate) heal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isOpen() {
		return
	}
	close(g.opened)
	g.out, g.in = false, false
	for _, c := range g.conns {
		c.Conn.Close()
	}
	g.conns = nil
}

// DialContext connects when the gate is open.
func (g *gate) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if g == nil {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	opened := g.state()
	select {
	case <-opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &gated{Conn: conn, gate: g, opened: opened}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns = append(g.conns, c)
	return c, nil
}

// A gated is a connection through the gate, with the gate's channel at the time when it
// was made.
type gated struct {
	net.Conn
	gate   *gate
	opened <-chan struct{}
}

func (c *gated) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if _, in := c.gate.loses(c); !in || err != nil {
			return n, err
		}
	}
}

func (c *gated) Write(b []byte) (int, error) {
	if out, _ := c.gate.loses(c); out {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Dial is for lib/pq, which calls it if it has no context.
func (g *gate) Dial(network, address string) (net.Conn, error) {
	return g.DialContext(context.Background(), network, address)
}

// DialTimeout is for lib/pq.
func (g *gate) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return g.DialContext(ctx, network, address)
}
