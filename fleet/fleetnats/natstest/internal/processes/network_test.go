//go:build linux

package processes_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"

	"github.com/svctoken/svctoken/fleet/fleetnats/natstest"
)

// A network is between the processes, and can be broken.
type network interface {
	// within returns the command which runs a program where this process lives.
	within(name, program string) []string
	// host returns the host on which this server listens, and address the address at
	// which another process finds a port of it.
	host(server string) string
	address(from, server string, port int) string
	// cut loses, or holds up, the data from one process to another.
	cut(from, to string)
	// slow lets a process receive a few kilobytes a second.
	slow(to string)
	heal()
	close()
}

// proxies are a network of one proxy for each pair of processes. Data on a cut connection
// is held up, and arrives late.
type proxies struct {
	net     string              // the first three bytes of the servers' loopback addresses
	servers []string            // names
	pairs   map[[2]string]*pair // who dials, and whom
}

type pair struct {
	*natstest.Proxy
	out, in bool // whether that direction is cut
}

func newProxies(servers, nodes []string) (*proxies, error) {
	// Addresses that no other connection uses as its own end, so that a server that was
	// killed finds its port free.
	pid := os.Getpid()
	p := &proxies{net: fmt.Sprintf("127.%d.%d.", 64+pid>>8&63, pid&255), servers: servers, pairs: make(map[[2]string]*pair)}
	for _, to := range servers {
		for _, from := range append(nodes, servers...) {
			if from == to {
				continue
			}
			port := clientPort
			if from[0] == 's' {
				port = routePort
			}
			proxy, err := natstest.NewProxy(func() []string { return []string{net.JoinHostPort(p.host(to), strconv.Itoa(port))} })
			if err != nil {
				p.close()
				return nil, err
			}
			p.pairs[[2]string{from, to}] = &pair{Proxy: proxy}
		}
	}
	return p, nil
}

func (p *proxies) within(_, program string) []string { return []string{program} }

func (p *proxies) host(server string) string {
	n, _ := strconv.Atoi(server[1:])
	return p.net + strconv.Itoa(n+1)
}

func (p *proxies) address(from, server string, _ int) string {
	return strings.TrimPrefix(p.pairs[[2]string{from, server}].URL(), "nats://")
}

func (p *proxies) cut(from, to string) {
	if pair := p.pairs[[2]string{from, to}]; pair != nil {
		pair.out = true
	}
	if pair := p.pairs[[2]string{to, from}]; pair != nil {
		pair.in = true
	}
	p.apply()
}

func (p *proxies) apply() {
	for _, pair := range p.pairs {
		pair.Cut(pair.out, pair.in)
	}
}

func (p *proxies) slow(to string) {
	for who, pair := range p.pairs {
		if who[0] == to {
			pair.Slow(slowRate)
		}
	}
}

func (p *proxies) heal() {
	for _, pair := range p.pairs {
		pair.out, pair.in = false, false
		pair.Slow(0)
	}
	p.apply()
}

func (p *proxies) close() {
	for _, pair := range p.pairs {
		pair.Close()
	}
}

// slowRate is how many bytes a second a slow consumer gets: fewer than the log produces.
const slowRate = 2000

// namespaces are a network of one network namespace for each process, and one that routes
// between them. Packets of a cut connection are lost, and nobody is told. They need root,
// and the programs ip and tc.
type namespaces struct {
	prefix string
	number map[string]int

	mu    sync.Mutex // guards the fields below
	rules [][]string // what heal undoes
}

func newNamespaces(servers, nodes []string) (*namespaces, error) {
	n := &namespaces{prefix: fmt.Sprintf("svctoken-%d-", os.Getpid()), number: make(map[string]int)}
	err := run("ip", "netns", "add", n.prefix+"hub")
	for i, name := range append(servers, nodes...) {
		n.number[name] = i
		if err == nil {
			err = n.add(name)
		}
	}
	if err == nil {
		err = run("ip", "netns", "exec", n.prefix+"hub", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
	}
	if err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *namespaces) add(name string) error {
	space, hub := n.prefix+name, n.prefix+"hub"
	for _, args := range [][]string{
		{"ip", "netns", "add", space},
		{"ip", "link", "add", name, "netns", space, "type", "veth", "peer", "name", name, "netns", hub},
		{"ip", "-n", space, "addr", "add", n.ip(name, 2) + "/24", "dev", name},
		{"ip", "-n", space, "link", "set", "lo", "up"},
		{"ip", "-n", space, "link", "set", name, "up"},
		{"ip", "-n", hub, "addr", "add", n.ip(name, 1) + "/24", "dev", name},
		{"ip", "-n", hub, "link", "set", name, "up"},
		{"ip", "-n", space, "route", "add", "default", "via", n.ip(name, 1)},
	} {
		if err := run(args...); err != nil {
			return err
		}
	}
	return nil
}

func run(args ...string) error {
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (n *namespaces) ip(name string, host int) string {
	return fmt.Sprintf("10.231.%d.%d", n.number[name], host)
}

func (n *namespaces) within(name, program string) []string {
	return []string{"ip", "netns", "exec", n.prefix + name, program}
}

func (n *namespaces) host(server string) string { return n.ip(server, 2) }

func (n *namespaces) address(_, server string, port int) string {
	return net.JoinHostPort(n.host(server), strconv.Itoa(port))
}

// do runs a command in the hub, and keeps the one that undoes it.
func (n *namespaces) do(undo []string, args ...string) {
	if err := run(args...); err != nil {
		panic(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rules = append(n.rules, undo)
}

func (n *namespaces) cut(from, to string) {
	rule := func(verb string) []string {
		return []string{"ip", "-n", n.prefix + "hub", "rule", verb, "from", n.ip(from, 2), "to", n.ip(to, 2), "blackhole"}
	}
	n.do(rule("del"), rule("add")...)
}

func (n *namespaces) slow(to string) {
	queue := []string{"tc", "-n", n.prefix + "hub", "qdisc"}
	n.do(append(queue[:4:4], "del", "dev", to, "root"),
		append(queue[:4:4], "add", "dev", to, "root", "tbf", "rate", strconv.Itoa(8*slowRate)+"bit", "burst", "3000", "limit", "100000")...)
}

func (n *namespaces) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, undo := range n.rules {
		if err := run(undo...); err != nil {
			panic(err)
		}
	}
	n.rules = nil
}

func (n *namespaces) close() {
	for name := range n.number {
		run("ip", "netns", "del", n.prefix+name)
	}
	run("ip", "netns", "del", n.prefix+"hub")
}
