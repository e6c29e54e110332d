//go:build linux

package processes_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	lasts    = flag.Duration("for", 50*time.Second, "for how long faults begin")
	seed     = flag.Uint64("seed", 0, "chooses the faults; zero: at random")
	only     = flag.String("fault", "", "a part of the names of the faults to have; empty: all")
	oneLease = flag.Duration("lease", 0, "the lease of all fleets; zero: 3s, and 12s every other time in the long mode. A busy machine needs the longer one")
	networks = flag.String("net", "", "proxies or namespaces; empty: namespaces every other time, where that can be done")
)

// A fault makes something break, and mends it before it returns, except for what
// world.heal mends. It returns why it cannot happen here.
type fault struct {
	name string
	run  func(w *world) (skip string)
}

var faults = []fault{
	{"leader killed", func(w *world) string { w.servers[w.leader()].kill(); w.wait(2); return "" }},
	{"leader killed and started at once", func(w *world) string { w.servers[w.leader()].kill(); return "" }},
	{"all servers killed", func(w *world) string {
		for _, s := range w.servers {
			s.kill()
		}
		w.wait(w.rng.Float64() * 2)
		return ""
	}},
	{"rolling restart", (*world).rollingRestart},
	{"minority cut off", func(w *world) string { w.cutServer(true, true, false); return "" }},
	{"minority cut off with its node", func(w *world) string { w.cutServer(true, true, true); return "" }},
	{"server's sending cut", func(w *world) string { w.cutServer(true, false, false); return "" }},
	{"server's receiving cut", func(w *world) string { w.cutServer(false, true, false); return "" }},
	{"node cut off", func(w *world) string { w.cutNode(true, true); return "" }},
	{"node's sending cut", func(w *world) string { w.cutNode(true, false); return "" }},
	{"node's receiving cut", func(w *world) string { w.cutNode(false, true); return "" }},
	{"node stopped", func(w *world) string { w.stopNode(func() {}); return "" }},
	{"node stopped while the leader is killed", func(w *world) string {
		w.stopNode(func() { w.servers[w.leader()].kill() })
		return ""
	}},
	{"leader paused with requests queued", func(w *world) string { w.pauseServer(w.leader()); return "" }},
	{"server paused with requests queued", func(w *world) string { w.pauseServer(w.rng.IntN(len(w.servers))); return "" }},
	{"home of consumers killed", func(w *world) string { w.servers[w.home()].kill(); w.wait(2); return "" }},
	{"stream made anew", (*world).makeAnew},
	{"store rolled back", (*world).rollBack},
	{"disk full", (*world).fillDisk},
	{"slow consumer", (*world).slowConsumer},
	{"node restarted in a loop", (*world).restartNode},
	{"consumers deleted", (*world).deleteConsumers},
	{"leader told to step down", (*world).stepDown},
	{"server wiped", (*world).wipeServer},
	{"one replica, and three again", (*world).oneReplica},
	{"mirror without heartbeats", (*world).mirror},
	{"records that no version knows", (*world).unknownRecords},
}

// wait lets so many leases pass.
func (w *world) wait(leases float64) { pause(time.Duration(leases * float64(w.lease))) }

// leader returns the server that leads the log, or any.
func (w *world) leader() int { return w.most(func(s serverState) int { return number(s.Leads) }) }

// home returns the server with the most consumers.
func (w *world) home() int { return w.most(func(s serverState) int { return s.Consumers }) }

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (w *world) most(of func(serverState) int) int {
	best, found := -1, 0
	for i, s := range w.servers {
		var state serverState
		if s.query("/state", &state) == nil && (best < 0 || of(state) > found) {
			best, found = i, of(state)
		}
	}
	return max(best, 0)
}

func (w *world) rollingRestart() string {
	for _, s := range w.servers {
		s.terminate()
		w.must(s.start())
		pause(100 * time.Millisecond) // until then the others may not have missed it
		w.whole()
	}
	return ""
}

// cutServer cuts a server off from the others, but not from the nodes, or from all but
// one node.
func (w *world) cutServer(sending, receiving, withNode bool) {
	i := w.leader()
	if w.rng.IntN(2) == 0 {
		i = w.rng.IntN(len(w.servers))
	}
	var others []string
	for j, name := range serverNames {
		if j != i {
			others = append(others, name)
		}
	}
	if withNode {
		for j, name := range nodeNames {
			if j != i {
				others = append(others, name)
			}
		}
		for j, name := range serverNames {
			if j != i {
				w.net.cut(nodeNames[i], name)
				w.net.cut(name, nodeNames[i])
			}
		}
	}
	for _, other := range others {
		if sending {
			w.net.cut(serverNames[i], other)
		}
		if receiving {
			w.net.cut(other, serverNames[i])
		}
	}
	w.wait(1.2 + 3*w.rng.Float64())
}

func (w *world) cutNode(sending, receiving bool) {
	i := w.rng.IntN(len(w.nodes))
	for _, server := range serverNames {
		if sending {
			w.net.cut(nodeNames[i], server)
		}
		if receiving {
			w.net.cut(server, nodeNames[i])
		}
	}
	w.wait(1.2 + w.rng.Float64())
}

// stopNode stops a node past its lease. Requests wait in its socket meanwhile, and are
// the first that it sees when it continues.
func (w *world) stopNode(meanwhile func()) {
	i := w.rng.IntN(len(w.nodes))
	w.nodes[i].signal(syscall.SIGSTOP)
	meanwhile()
	w.wait(1.2 + w.rng.Float64())
	var asked sync.WaitGroup
	for n := range 60 {
		asked.Go(func() { w.authenticate(i, stamped[n%len(stamped)], time.Minute) })
	}
	pause(100 * time.Millisecond) // they are on their way; it does not matter if some are not
	w.disturbed[i].Store(monotonic())
	w.nodes[i].signal(syscall.SIGCONT)
	asked.Wait()
}

// pauseServer stops a server while requests come in.
func (w *world) pauseServer(i int) {
	w.servers[i].signal(syscall.SIGSTOP)
	w.wait(0.5 + 3*w.rng.Float64())
	w.servers[i].signal(syscall.SIGCONT)
	w.wait(0.5)
}

func (w *world) makeAnew() string {
	for _, l := range w.ledgers {
		l.beginAnew()
	}
	err := w.recreate()
	for began := time.Now(); err != nil && time.Since(began) < time.Minute; {
		err = w.recreate()
	}
	for _, l := range w.ledgers {
		l.madeAnew()
	}
	w.must(err)
	return ""
}

// rollBack restores a backup as docs/fleet.md demands: the servers are down for a lease.
func (w *world) rollBack() string {
	backup := filepath.Join(w.dir, "backup")
	defer os.RemoveAll(backup)
	down := func() {
		for _, s := range w.servers {
			s.terminate()
		}
	}
	down()
	then := make(map[string]question)
	for name, l := range w.ledgers {
		then[name] = l.ask()
	}
	store := filepath.Join(w.dir, "store")
	w.must(os.CopyFS(backup, os.DirFS(store)))
	w.heal()
	w.wait(1)
	defer w.judge.losesFrom()()
	down()
	w.wait(1.1)
	for _, name := range serverNames {
		w.must(empty(w.storeDir(name)))
	}
	w.must(copyBack(store, backup))
	for name, l := range w.ledgers {
		l.rolledBack(then[name])
	}
	return ""
}

// empty removes the contents of a directory, which may be a mount point.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = cmp.Or(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

func copyBack(to, from string) error {
	for _, name := range serverNames {
		if err := os.CopyFS(filepath.Join(to, name), os.DirFS(filepath.Join(from, name))); err != nil {
			return err
		}
	}
	return nil
}

// fillDisk fills a server's file system. The server gives up JetStream, until it is
// started again with room.
func (w *world) fillDisk() string {
	if w.disk == "" {
		return "a small file system cannot be mounted"
	}
	path := filepath.Join(w.disk, "filler")
	filler, err := os.Create(path)
	w.must(err)
	for err == nil {
		_, err = filler.Write(make([]byte, 64<<10))
	}
	for err = nil; err == nil; {
		_, err = filler.Write(make([]byte, 1))
	}
	filler.Close()
	full := w.servers[len(w.servers)-1]
	w.wait(1 + w.rng.Float64())
	var state serverState
	if full.query("/state", &state) == nil && state.JetStream {
		w.t.Error("the disk is full, and the server has not noticed")
	}
	w.must(os.Remove(path))
	full.terminate()
	return ""
}

// slowConsumer lets a node receive less than the log has, while the others evict.
func (w *world) slowConsumer() string {
	i := w.rng.IntN(len(w.nodes))
	w.net.slow(nodeNames[i])
	for began := time.Now(); time.Since(began) < w.lease*3/2; pause(50 * time.Millisecond) {
		for j, n := range w.nodes {
			if j != i {
				n.ask(w.t.Context(), "POST", "/flood", new(done))
			}
		}
	}
	return ""
}

// restartNode kills a node again and again.
func (w *world) restartNode() string {
	i := w.rng.IntN(len(w.nodes))
	for began := time.Now(); time.Since(began) < w.lease*3/2; pause(time.Duration(w.rng.IntN(700)) * time.Millisecond) {
		w.disturbed[i].Store(monotonic())
		w.nodes[i].kill()
		w.must(w.nodes[i].start())
	}
	return ""
}

// TestFaults makes one fault after the other, each of which is a history: it breaks
// something, mends it, and requires that all nodes serve and agree. Answers are checked
// all the time.
func TestFaults(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("the seed is %d", *seed)
	buildLater(t)
	rng := rand.New(rand.NewPCG(*seed, 0))
	c := &counts{histories: make(map[string]int), skipped: make(map[string]string)}
	began := time.Now()
	var queue []fault
	for number := 0; time.Since(began) < *lasts && !t.Failed(); number++ {
		spaces, lease := chooseNetwork(rng, number), chooseLease(rng)
		t.Run(fmt.Sprintf("fleet %d: lease %v, namespaces %v", number, lease, spaces), func(t *testing.T) {
			w := newWorld(t, rng.Uint64(), spaces, lease, c)
			w.run()
			defer w.end()
			w.heal()
			for round := 0; round < 12 && time.Since(began) < *lasts && !t.Failed(); round++ {
				if len(queue) == 0 {
					queue = shuffled(rng)
				}
				w.history(queue[0])
				queue = queue[1:]
			}
		})
	}
	t.Log(c)
}

// chooseNetwork reports whether to give the processes namespaces of their own.
func chooseNetwork(rng *rand.Rand, number int) bool {
	return *networks == "namespaces" || *networks == "" && (number+rng.IntN(2))%2 == 0
}

// chooseLease returns a lease that elections outlast, so that nodes lapse, or, in the
// long mode, one that outlasts elections.
func chooseLease(rng *rand.Rand) time.Duration {
	if *oneLease > 0 {
		return *oneLease
	}
	if *lasts > 5*time.Minute && rng.IntN(2) == 0 {
		return 12 * time.Second
	}
	return 3 * time.Second
}

func shuffled(rng *rand.Rand) []fault {
	var list []fault
	for _, f := range faults {
		if strings.Contains(f.name, *only) {
			list = append(list, f)
		}
	}
	rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

func (w *world) history(f fault) {
	w.t.Helper()
	began := time.Now()
	if why := f.run(w); why != "" {
		w.counts.mu.Lock()
		defer w.counts.mu.Unlock()
		w.counts.skipped[f.name] = why
		return
	}
	lasted := time.Since(began)
	w.heal()
	w.t.Logf("%s: it took %.1f s, and all served and agreed %.1f s later", f.name, lasted.Seconds(), time.Since(began).Seconds()-lasted.Seconds())
	w.counts.mu.Lock()
	defer w.counts.mu.Unlock()
	w.counts.histories[f.name]++
}

func (c *counts) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	total := 0
	for _, n := range c.histories {
		total += n
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%d histories, %d verdicts, %d not answered, %d evictions and %d writes that returned, %d changes that did not or are not known to, "+
		"%d evictions that took longer than a lease; the longest took %v from its acknowledgement, at most %v beyond the lease and the drift; %d violations; "+
		"by the second checker: %d answers, %d of them exempt, %d wrong",
		total, c.verdicts.Load(), c.unanswered.Load(), c.evictions.Load(), c.writes.Load(), c.unknown.Load(), c.byTime.Load(),
		time.Duration(c.longest.Load()).Round(time.Millisecond), time.Duration(max(0, c.beyond.Load())).Round(time.Millisecond), c.violations.Load(),
		c.judged.Load(), c.exempt.Load(), c.wrong.Load())
	for _, name := range slices.Sorted(maps.Keys(c.histories)) {
		fmt.Fprintf(&text, "\n  %d of %s", c.histories[name], name)
	}
	for _, name := range slices.Sorted(maps.Keys(c.skipped)) {
		fmt.Fprintf(&text, "\n  skipped: %s, as %s", name, c.skipped[name])
	}
	return text.String()
}
