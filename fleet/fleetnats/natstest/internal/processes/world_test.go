//go:build linux

package processes_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

var (
	serverNames = []string{"s0", "s1", "s2"}
	nodeNames   = []string{"n0", "n1", "n2"}
	stamped     = []string{"s1", "s2"}
	documents   = []string{"d0", "d1", "d2"} // each node writes one
)

// A world is a fleet, and the clients that ask it and change it all the time.
type world struct {
	t       *testing.T
	rng     *rand.Rand // of the faults
	dir     string
	net     network
	lease   time.Duration
	servers []*process
	nodes   []*process
	ledgers map[string]*ledger
	judge   *judge
	disk    string // the mount point of the last server's small file system; empty: there is none
	stop    chan struct{}
	clients sync.WaitGroup
	writing sync.RWMutex // held for reading by the clients that write documents

	disturbed [3]atomic.Int64 // when each node was last stopped, killed or started
	ok        [3]atomic.Int64 // changes of each node that have returned
	counts    *counts
}

// counts sums up what happened in a run.
type counts struct {
	verdicts, unanswered, evictions, byTime, writes, unknown, violations atomic.Int64
	longest                                                              atomic.Int64 // nanoseconds from an acknowledgement to the eviction's return
	beyond                                                               atomic.Int64 // the same beyond the lease and the drift
	judged, exempt, wrong                                                atomic.Int64 // by the second checker
	mu                                                                   sync.Mutex   // guards the fields below
	histories                                                            map[string]int
	skipped                                                              map[string]string
}

func newWorld(t *testing.T, seed uint64, spaces bool, lease time.Duration, c *counts) *world {
	t.Helper()
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), lease: lease, ledgers: make(map[string]*ledger), stop: make(chan struct{}), counts: c}
	removeStale()
	dir, err := os.MkdirTemp("", fmt.Sprintf("fleet-%d-", os.Getpid())) // short, as a socket's path must be
	if err != nil {
		t.Fatal(err)
	}
	w.dir = dir
	t.Cleanup(func() { os.RemoveAll(dir) })
	w.judge, err = newJudge(filepath.Join(dir, "generation"))
	w.must(err)
	w.net = newNetwork(t, spaces)
	t.Cleanup(w.net.close)
	w.mountDisk()
	t.Cleanup(func() { // before the network is removed
		if t.Failed() {
			showLogs(t, append(w.servers, w.nodes...))
		}
		for _, p := range append(w.servers, w.nodes...) {
			p.kill()
		}
	})
	w.startAll()
	for _, name := range append(stamped, documents...) {
		w.ledgers[name] = new(ledger)
	}
	return w
}

// newNetwork makes namespaces, or proxies if namespaces are not possible and were not
// asked for: they take root, and a container may forbid them even to root.
func newNetwork(t *testing.T, spaces bool) network {
	t.Helper()
	if spaces {
		n, err := newNamespaces(serverNames, nodeNames)
		if err == nil {
			return n
		}
		if *networks != "" {
			t.Fatal(err)
		}
		t.Logf("proxies take the place of namespaces: %v", err)
	}
	p, err := newProxies(serverNames, nodeNames)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// removeStale removes the namespaces and the files of tests that were killed. Their
// processes have ended with them.
func removeStale() {
	for pattern, remove := range map[string]func(path string){
		"/run/netns/svctoken-*": func(path string) { run("ip", "netns", "del", filepath.Base(path)) },
		filepath.Join(os.TempDir(), "fleet-*-*"): func(path string) {
			syscall.Unmount(filepath.Join(path, "store", serverNames[2]), syscall.MNT_FORCE)
			os.RemoveAll(path)
		},
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			panic(err)
		}
		for _, path := range paths {
			pid := strings.Split(filepath.Base(path), "-")[1]
			if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) {
				remove(path)
			}
		}
	}
}

// mountDisk gives the last server a small file system, if that is possible.
func (w *world) mountDisk() {
	if err := os.MkdirAll(w.storeDir("s2"), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", w.storeDir("s2"), "tmpfs", 0, "size=24m"); err != nil {
		return
	}
	w.disk = w.storeDir("s2")
	w.t.Cleanup(func() { syscall.Unmount(w.disk, syscall.MNT_FORCE|2) }) // 2: even while somebody has it open
}

func (w *world) storeDir(server string) string { return filepath.Join(w.dir, "store", server) }

func (w *world) startAll() {
	w.t.Helper()
	for _, name := range serverNames {
		c := &serverConfig{Host: w.net.host(name), Dir: w.storeDir(name), Servers: len(serverNames)}
		for _, other := range serverNames {
			if other != name {
				c.Routes = append(c.Routes, w.net.address(name, other, routePort))
			}
		}
		w.servers = append(w.servers, w.process(config{Name: name, Server: c}))
	}
	secret := tokencache.GenerateSecret().Reveal()
	for i, name := range nodeNames {
		c := &nodeConfig{Lease: w.lease, Secret: secret, Generation: w.judge.file}
		for j := range serverNames {
			c.Servers = append(c.Servers, w.net.address(name, serverNames[(i+j)%len(serverNames)], clientPort))
		}
		w.nodes = append(w.nodes, w.process(config{Name: name, Node: c}))
	}
	w.nodes[len(w.nodes)-1].binary = laterBinary
	for _, s := range w.servers {
		w.must(s.start())
	}
	w.until(30*time.Second, "the servers elect a leader", func() bool {
		for _, s := range w.servers {
			var state serverState
			if s.query("/state", &state) == nil && state.Peers == len(w.servers) {
				return true
			}
		}
		return false
	})
	w.until(30*time.Second, "the log is made", func() bool { return w.recreate() == nil })
	for i := range w.nodes {
		w.must(w.nodes[i].start())
	}
}

// process returns a process to which the judge listens.
func (w *world) process(c config) *process {
	p := newProcess(w.dir, w.net, c)
	p.client.Transport = w.judge.listen(c.Name, p.client.Transport)
	return p
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// recreate deletes the log, if there is one, and makes it anew.
func (w *world) recreate() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return w.servers[w.rng.IntN(len(w.servers))].ask(ctx, "POST", "/recreate", new(bool))
}

// until waits until something holds.
func (w *world) until(patience time.Duration, what string, holds func() bool) {
	w.t.Helper()
	for began := time.Now(); !holds(); pause(20 * time.Millisecond) {
		if time.Since(began) > patience {
			w.t.Fatalf("after %v it does not hold that %s; %s", patience, what, w.standing())
		}
	}
}

func pause(d time.Duration) { <-time.After(d) }

// standing describes the condition of all processes.
func (w *world) standing() string {
	var text strings.Builder
	for _, s := range w.servers {
		var state serverState
		err := s.query("/state", &state)
		fmt.Fprintf(&text, "%s %+v %v; ", s.Name, state, err)
	}
	for _, n := range w.nodes {
		var state nodeState
		err := n.query("/state", &state)
		fmt.Fprintf(&text, "%s %+v %v; ", n.Name, state, err)
	}
	return text.String()
}

// run lets the clients begin.
func (w *world) run() {
	for i := range w.nodes {
		for _, name := range append(stamped[:2:2], documents...) {
			w.clients.Go(func() { w.asker(i, name) })
		}
		w.clients.Go(func() { w.generationAsker(i) })
		w.clients.Go(func() { w.evictor(i) })
		w.clients.Go(func() { w.writer(i) })
	}
	w.clients.Go(w.turner)
}

// end ends the clients, and lets the second checker judge.
func (w *world) end() {
	close(w.stop)
	w.clients.Wait()
	v := w.judge.verdict()
	w.counts.judged.Add(int64(v.answers))
	w.counts.exempt.Add(int64(v.exempt))
	w.counts.wrong.Add(int64(len(v.wrong)))
	for _, wrong := range v.wrong[:min(len(v.wrong), 20)] {
		w.t.Error(wrong)
	}
}

// next waits for a while, and reports whether the client goes on.
func (w *world) next(d time.Duration) bool {
	select {
	case <-w.stop:
		return false
	case <-time.After(d):
		return true
	}
}

// asker asks a node about one token. Each token has an asker of its own: one may have to
// wait for the log while another is in memory.
func (w *world) asker(node int, name string) {
	for w.next(20 * time.Millisecond) {
		w.authenticate(node, name, 10*time.Second)
	}
}

// generationAsker asks a node about the token that the judge alone judges.
func (w *world) generationAsker(node int) {
	for w.next(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		w.nodes[node].ask(ctx, "GET", "/auth/"+generational, new(answer))
		cancel()
	}
}

// turner raises the generation, and then evicts at some node.
func (w *world) turner() {
	rng := rand.New(rand.NewPCG(1, 4))
	for w.next(time.Duration(100+rng.IntN(900)) * time.Millisecond) {
		if err := w.judge.turn(); err != nil {
			w.t.Error(err)
			return
		}
		w.nodes[rng.IntN(len(w.nodes))].ask(context.Background(), "POST", "/turned", new(done))
	}
}

// authenticate asks a node about a token, and checks what it says.
func (w *world) authenticate(node int, name string, patience time.Duration) (a answer, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l := w.ledgers[name]
	q := l.ask()
	if err := w.nodes[node].ask(ctx, "GET", "/auth/"+name, &a); err != nil || a.Outcome == "none" {
		w.counts.unanswered.Add(1)
		return a, false
	}
	w.counts.verdicts.Add(1)
	if err := l.check(q, a); err != nil {
		w.counts.violations.Add(1)
		w.t.Errorf("node %d of token %s: %v", node, name, err)
	}
	return a, true
}

// evictor evicts at one node, one token or all.
func (w *world) evictor(node int) {
	rng := rand.New(rand.NewPCG(uint64(node), 2))
	for w.next(time.Duration(10+rng.IntN(100)) * time.Millisecond) {
		names := append(stamped[:2:2], "*")[rng.IntN(3)]
		w.evict(node, names)
	}
}

func (w *world) evict(node int, names string) {
	called := monotonic()
	var d done
	if err := w.nodes[node].ask(context.Background(), "POST", "/evict/"+names, &d); err != nil || d.Err != "" {
		w.counts.unknown.Add(1)
		return
	}
	for _, name := range stamped {
		if names == "*" || names == name {
			w.ledgers[name].evictionReturned(called)
		}
	}
	w.ok[node].Add(1)
	w.counts.evictions.Add(1)
	w.bound(node, called, time.Duration(d.Took), d.Kept)
}

// slack is how late a process on a busy machine may be.
const slack = 2 * time.Second

// bound checks that an eviction ended in time: within a lease and the drift of its
// acknowledgement, if the node that was asked had one session all the while.
func (w *world) bound(node int, called int64, took time.Duration, kept bool) {
	limit := w.lease * 1002 / 1000
	if took > w.lease {
		w.counts.byTime.Add(1)
	}
	if !kept || w.disturbed[node].Load() > called {
		return
	}
	raise(&w.counts.longest, int64(took))
	raise(&w.counts.beyond, int64(took-limit))
	if took > limit+slack {
		w.counts.violations.Add(1)
		w.t.Errorf("an eviction at node %d ended %v after its acknowledgement, and a lease is %v", node, took, w.lease)
	}
}

func raise(to *atomic.Int64, value int64) {
	for {
		old := to.Load()
		if value <= old || to.CompareAndSwap(old, value) {
			return
		}
	}
}

// writer writes one token's document at one node, and sometimes deletes it.
func (w *world) writer(node int) {
	rng := rand.New(rand.NewPCG(uint64(node), 3))
	for w.next(time.Duration(20+rng.IntN(200)) * time.Millisecond) {
		w.writing.RLock()
		w.write(node, rng.IntN(4) > 0)
		w.writing.RUnlock()
	}
}

// write writes the document of a node's token, and reports whether it returned.
func (w *world) write(node int, present bool) bool {
	name := documents[node]
	number, losses := w.ledgers[name].write(present)
	path := "/delete/" + name
	if present {
		path = "/put/" + name + "/" + strconv.Itoa(number)
	}
	var d done
	if err := w.nodes[node].ask(context.Background(), "POST", path, &d); err != nil || d.Err != "" {
		w.counts.unknown.Add(1)
		return false
	}
	w.ledgers[name].writeReturned(number, losses)
	w.ok[node].Add(1)
	w.counts.writes.Add(1)
	return true
}

// heal ends every fault, and requires that all nodes serve and agree.
func (w *world) heal() {
	w.t.Helper()
	w.net.heal()
	for _, p := range append(w.servers, w.nodes...) {
		p.signal(syscall.SIGCONT)
		w.must(p.restart())
	}
	w.whole()
	w.until(90*time.Second, "every node serves", w.serving)
	w.agree()
}

func (w *world) serving() bool {
	for _, n := range w.nodes {
		var state nodeState
		if n.query("/state", &state) != nil || !state.Serving {
			return false
		}
	}
	return true
}

// whole waits until a server leads the log, and the others have all of it.
func (w *world) whole() {
	w.t.Helper()
	w.until(90*time.Second, "a server leads the log, and the others have all of it", func() bool {
		for _, s := range w.servers {
			var state serverState
			if s.query("/state", &state) == nil && state.Whole {
				return true
			}
		}
		return false
	})
}

// agree writes a document of each token, and requires that all nodes confirm it.
func (w *world) agree() {
	w.t.Helper()
	w.writing.Lock()
	defer w.writing.Unlock()
	for i, name := range documents {
		w.until(60*time.Second, "a document is written at node "+strconv.Itoa(i), func() bool { return w.write(i, true) })
		want := len(w.ledgers[name].writes)
		for j := range w.nodes {
			w.until(60*time.Second, "node "+strconv.Itoa(j)+" answers", func() bool {
				a, ok := w.authenticate(j, name, 10*time.Second)
				if ok && a.Version != want {
					w.counts.violations.Add(1)
					w.t.Errorf("node %d has document %d of token %s, want %d", j, a.Version, name, want)
				}
				return ok
			})
		}
	}
	for i := range w.nodes {
		before := w.ok[i].Load()
		w.until(60*time.Second, "evictions end at node "+strconv.Itoa(i), func() bool { return w.ok[i].Load() > before })
	}
}
