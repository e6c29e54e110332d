//go:build unix

package natstest_test

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetnats/natstest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

var measure = flag.Bool("measure", false, "print the figures of docs/fleet-proof.md")

var account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

// A host is a node with a real group of caches.
type host struct {
	*link
	node  *fleet.Node
	group *tokencache.Group

	mu       sync.Mutex // guards the field below
	renewals []time.Duration
}

func (h *host) observe(e fleet.Event) {
	if e.Kind == fleet.EventRenewed {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.renewals = append(h.renewals, e.Duration)
	}
}

func newHost(t testing.TB, c *natstest.Cluster, i int, lease time.Duration) *host {
	t.Helper()
	h := &host{link: connect(t, c, i%c.Len(), c.Len(), "fleet"), group: tokencache.NewGroup(tokencache.GroupConfig{})}
	t.Cleanup(h.group.Close)
	node, err := fleet.New(h.Log, h.group, fleet.Config{Lease: lease, Name: fmt.Sprintf("node%d", i), Observer: h.observe})
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
	if err := h.node.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// TestMeasure prints the figures of docs/fleet-proof.md:
//
//	go -C fleet/fleetnats/natstest test . -run TestMeasure -measure -v
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
	for i := range n {
		hosts = append(hosts, newHost(t, c, i, 15*time.Second))
	}
	settle(t, hosts[0])
	measureRenewals(t, hosts)
	var took []time.Duration
	for range 300 {
		took = append(took, evictOnce(t, hosts[0]))
	}
	t.Logf("an eviction, one at a time: %s", spread(took))
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

// measureRenewals lets the nodes do nothing else for two renewals of each.
func measureRenewals(t *testing.T, hosts []*host) {
	before := cpu()
	began := time.Now()
	<-time.After(6 * time.Second)
	busy, passed := cpu()-before, time.Since(began)
	var took []time.Duration
	for _, h := range hosts {
		h.mu.Lock()
		took = append(took, h.renewals...)
		h.mu.Unlock()
	}
	t.Logf("a renewal: %s; %.0f a second, which take the processor %v a second for nodes, clients, proxies and servers", spread(took),
		float64(len(hosts))/3, (busy * time.Second / passed).Round(time.Millisecond))
}

func spread(took []time.Duration) string {
	slices.Sort(took)
	return fmt.Sprintf("p50 %v, p99 %v of %d", took[len(took)/2].Round(10*time.Microsecond), took[len(took)*99/100].Round(10*time.Microsecond), len(took))
}

// cpu returns how long this process has had a processor.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
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
	entry := fleetlog.Entry{Key: "settled", ID: "settled", Value: []byte(h.node.Status().Log)}
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
