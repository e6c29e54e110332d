package natstest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/nats/natstest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

var (
	rounds  = flag.Int("rounds", 1, "how often TestFaults has each fault")
	measure = flag.Bool("measure", false, "print the figures of docs/fleet.md")
)

var account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

// lease is short, so that faults outlast it. A leader takes longer to be elected, so
// nodes lapse now and then, which is part of the test.
const lease = 3 * time.Second

// A host is a node with a real group of caches.
type host struct {
	*link
	node  *fleet.Node
	group *tokencache.Group
}

func newHost(t testing.TB, c *natstest.Cluster, i int, lease time.Duration) *host {
	t.Helper()
	h := &host{link: connect(t, c, i%c.Len(), c.Len(), "fleet"), group: tokencache.NewGroup(tokencache.GroupConfig{})}
	t.Cleanup(h.group.Close)
	node, err := fleet.New(h.Engine, h.group, fleet.Config{Lease: lease, Name: fmt.Sprintf("node%d", i)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	h.node = node
	if _, err := tokencache.New(h.group, "index", indexsource.New(node.Index()), tokencache.Config{}); err != nil {
		t.Fatal(err)
	}
	h.wait(t)
	return h
}

func (h *host) wait(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := h.node.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestFaults has three nodes on three servers authenticate while one writer replaces
// a document, again and again, and things break. Nobody may confirm the token with a
// document older than the last replacement that had returned before he asked.
func TestFaults(t *testing.T) {
	for _, f := range []struct {
		name string
		run  func(t *testing.T, c *natstest.Cluster, r *run)
	}{
		{"nothing", func(*testing.T, *natstest.Cluster, *run) { pause(lease) }},
		{"leader stopped", stopLeader},
		{"rolling restart", rollingRestart},
		{"node cut off", func(_ *testing.T, _ *natstest.Cluster, r *run) { cut(r.hosts[1], true, true) }},
		{"node's requests cut", func(_ *testing.T, _ *natstest.Cluster, r *run) { cut(r.hosts[1], true, false) }},
		{"node's answers cut", func(_ *testing.T, _ *natstest.Cluster, r *run) { cut(r.hosts[1], false, true) }},
		{"writer cut off", func(_ *testing.T, _ *natstest.Cluster, r *run) { cut(r.hosts[0], true, true) }},
		{"stream made anew", func(t *testing.T, c *natstest.Cluster, _ *run) { recreate(t, c, c.Len(), "fleet"); pause(2 * lease) }},
		{"store rolled back", rollBackStore},
	} {
		t.Run(f.name, func(t *testing.T) {
			c := cluster(t, 3)
			var hosts []*host
			for i := range 3 {
				hosts = append(hosts, newHost(t, c, i, lease))
			}
			r := newRun(t, hosts)
			pause(lease)
			for range *rounds {
				f.run(t, c, r)
			}
			r.finish(t)
		})
	}
}

func pause(d time.Duration) { <-time.After(d) }

func cut(h *host, out, in bool) {
	h.proxy.Cut(out, in)
	pause(2 * lease)
	h.proxy.Heal()
}

func stopLeader(t *testing.T, c *natstest.Cluster, _ *run) {
	leader := c.StreamLeader("KV_fleet")
	c.StopServer(max(leader, 0))
	pause(2 * lease)
	if err := c.StartAll(); err != nil {
		t.Fatal(err)
	}
}

func rollingRestart(t *testing.T, c *natstest.Cluster, _ *run) {
	for i := range c.Len() {
		c.StopServer(i)
		if err := c.StartAll(); err != nil {
			t.Fatal(err)
		}
	}
}

// rollBackStore restores a backup. The versions that were written since are lost with
// it, and those of before must be in force.
func rollBackStore(t *testing.T, c *natstest.Cluster, r *run) {
	var from int64
	rollBack(t, c, func() {
		from = r.returned.Load()
		pause(lease)
	}, func() { r.lost.Store(&[2]int64{from, r.attempt.Load()}) })
}

// A run is clients and a writer, and what they saw.
type run struct {
	hosts    []*host
	stop     chan struct{}
	done     sync.WaitGroup
	token    tokencache.Token
	hash     indexsource.Hash
	returned atomic.Int64 // the last version whose writing has returned
	attempt  atomic.Int64 // the last version that was sent
	lost     atomic.Pointer[[2]int64]
	written  atomic.Int64
	verdicts atomic.Int64
	errors   atomic.Int64
	longest  atomic.Int64 // nanoseconds of a change that returned
}

func newRun(t *testing.T, hosts []*host) *run {
	t.Helper()
	token, err := tokencache.NewToken(account.TokenID("token1"), tokencache.GenerateSecret())
	if err != nil {
		t.Fatal(err)
	}
	r := &run{hosts: hosts, stop: make(chan struct{}), token: token, hash: indexsource.HashSecret(token.Secret())}
	r.done.Go(r.write)
	for _, h := range hosts {
		r.done.Go(func() { r.ask(t, h) })
	}
	return r
}

func (r *run) ended() bool {
	select {
	case <-r.stop:
		return true
	case <-time.After(10 * time.Millisecond):
		return false
	}
}

func (r *run) write() {
	for version := int64(1); !r.ended(); version++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		doc := indexsource.Document{Token: r.token.ID(), Enabled: true, Hash: r.hash, Creator: strconv.FormatInt(version, 10)}
		r.attempt.Store(version)
		began := time.Now()
		if err := r.hosts[0].node.Index().Put(ctx, doc); err == nil {
			r.returned.Store(version)
			r.written.Add(1)
			r.longest.Store(max(r.longest.Load(), int64(time.Since(began))))
		}
		cancel()
	}
}

func (r *run) ask(t *testing.T, h *host) {
	for !r.ended() {
		least := r.returned.Load()
		verdict, err := h.group.AuthenticateToken(t.Context(), r.token)
		if err != nil {
			r.errors.Add(1)
			continue
		}
		r.verdicts.Add(1)
		doc := verdict.Record.(indexsource.Document)
		if got, _ := strconv.ParseInt(doc.Creator, 10, 64); got < r.least(least) {
			t.Errorf("%s confirmed version %d, and version %d had returned", h.node.Status().Name, got, least)
		}
	}
}

// least returns the oldest version that may be confirmed once this one has returned.
func (r *run) least(returned int64) int64 {
	if lost := r.lost.Load(); lost != nil && returned > lost[0] && returned <= lost[1] {
		return lost[0]
	}
	return returned
}

// finish lets all heal, and requires that all nodes serve and agree.
func (r *run) finish(t *testing.T) {
	t.Helper()
	for _, h := range r.hosts {
		h.wait(t)
	}
	before := r.written.Load()
	for deadline := time.Now().Add(time.Minute); r.written.Load() < before+2; {
		if time.Now().After(deadline) {
			t.Fatal("nothing is written after the fault")
		}
		pause(10 * time.Millisecond)
	}
	close(r.stop)
	r.done.Wait()
	for _, h := range r.hosts {
		h.wait(t)
		if _, err := h.group.AuthenticateToken(t.Context(), r.token); err != nil && !errors.Is(err, tokencache.ErrRefused) {
			t.Logf("%s after the fault: %v", h.node.Status().Name, err)
		}
	}
	t.Logf("%d changes, the longest took %v; %d verdicts, %d errors", r.written.Load(), time.Duration(r.longest.Load()).Round(time.Millisecond), r.verdicts.Load(), r.errors.Load())
}

// TestMeasure prints the figures of docs/fleet.md:
//
//	go -C fleet/nats/natstest test . -run TestMeasure -measure -v
func TestMeasure(t *testing.T) {
	if !*measure {
		t.Skip("it runs with -measure")
	}
	for _, n := range []int{3, 10, 50} {
		t.Run(fmt.Sprintf("%d nodes", n), func(t *testing.T) { measureNodes(t, n) })
	}
}

func measureNodes(t *testing.T, n int) {
	c := cluster(t, 3)
	var hosts []*host
	goroutines, memory := runtime.NumGoroutine(), heap()
	for i := range n {
		hosts = append(hosts, newHost(t, c, i, 15*time.Second))
	}
	t.Logf("a node has %d goroutines and %d kB, the client's and the proxy's included", (runtime.NumGoroutine()-goroutines)/n, (heap()-memory)/n/1024)
	settle(t, hosts[0])
	var took []time.Duration
	for range 300 {
		took = append(took, evictOnce(t, hosts[0]))
	}
	slices.Sort(took)
	t.Logf("an eviction, one at a time: p50 %v, p99 %v", took[len(took)/2], took[len(took)*99/100])
	began := time.Now()
	var all sync.WaitGroup
	const workers, each = 16, 40
	for range workers {
		all.Go(func() {
			for range each {
				evictOnce(t, hosts[0])
			}
		})
	}
	all.Wait()
	t.Logf("%d at a time: %.0f evictions a second", workers, workers*each/time.Since(began).Seconds())
}

func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// settle says that the log is older than a lease, which takes one otherwise.
func settle(t *testing.T, h *host) {
	t.Helper()
	entry := fleet.Entry{Key: "settled", ID: "settled", Value: []byte(h.node.Status().Log)}
	if _, err := h.Append(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
}

func evictOnce(t *testing.T, h *host) time.Duration {
	began := time.Now()
	if _, err := h.node.Evict(t.Context(), account.Namespace, account.Service, "token1"); err != nil {
		t.Error(err)
	}
	return time.Since(began)
}
