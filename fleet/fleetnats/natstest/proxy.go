package natstest

import (
	"net"
	"sync"
	"time"
)

// A Proxy passes one client's connections on to servers. Like a broken network, it can
// hold up or slow down either direction without ending the connection. It is safe for
// concurrent use by multiple goroutines.
type Proxy struct {
	listener net.Listener
	targets  func() []string

	mu      sync.Mutex // guards the fields below
	out, in bool       // whether that direction is cut
	rate    int        // bytes a second that clients are sent; zero: all there are
	changed *sync.Cond
	conns   map[net.Conn]struct{}
	closed  bool
}

// NewProxy returns a proxy to the first of the targets that accepts a connection.
func NewProxy(targets func() []string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, targets: targets, conns: make(map[net.Conn]struct{})}
	p.changed = sync.NewCond(&p.mu)
	go p.accept()
	return p, nil
}

// URL returns the address at which a client connects.
func (p *Proxy) URL() string { return "nats://" + p.listener.Addr().String() }

// Cut holds up the data from clients, the data to them, or both.
func (p *Proxy) Cut(out, in bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out, p.in = out, in
	p.changed.Broadcast()
}

// Slow limits the data to clients to so many bytes a second; zero: no limit.
func (p *Proxy) Slow(rate int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = rate
}

// Heal undoes Cut.
func (p *Proxy) Heal() { p.Cut(false, false) }

// Close ends the proxy and its connections.
func (p *Proxy) Close() {
	p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for c := range p.conns {
		c.Close()
	}
	p.changed.Broadcast()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.serve(client)
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	if !p.wait(func() bool { return p.out || p.in }) {
		return
	}
	for _, target := range p.targets() {
		server, err := net.Dial("tcp", target)
		if err != nil {
			continue
		}
		p.join(client, server)
		return
	}
}

func (p *Proxy) join(client, server net.Conn) {
	defer server.Close()
	p.mu.Lock()
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	closed := p.closed
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, client)
		delete(p.conns, server)
	}()
	if closed {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(server, client, func() bool { return p.out }, func() int { return 0 }) })
	both.Go(func() { p.copy(client, server, func() bool { return p.in }, p.slow) })
	both.Wait()
}

func (p *Proxy) copy(to, from net.Conn, cut func() bool, rate func() int) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		part := buf
		slow := rate()
		if slow > 0 {
			part = buf[:max(1, slow/10)]
		}
		n, err := from.Read(part)
		if err != nil || !p.wait(cut) {
			return
		}
		if slow > 0 {
			time.Sleep(time.Second * time.Duration(n) / time.Duration(slow))
		}
		if _, err := to.Write(part[:n]); err != nil {
			return
		}
	}
}

func (p *Proxy) slow() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate
}

// wait waits while the direction is cut, and reports whether the proxy goes on.
func (p *Proxy) wait(cut func() bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for cut() && !p.closed {
		p.changed.Wait()
	}
	return !p.closed
}
