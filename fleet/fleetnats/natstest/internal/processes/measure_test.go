//go:build linux

package processes_test

import (
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"
)

var measure = flag.Bool("measure", false, "measure how long nodes do not answer when a server dies")

// TestServerDies measures how long nodes do not answer when the leader is killed and
// stays away, at a lease of 15 s:
//
//	go -C fleet/fleetnats/natstest test ./internal/processes -run TestServerDies -measure -v
func TestServerDies(t *testing.T) {
	if !*measure {
		t.Skip("it runs with -measure")
	}
	w := newWorld(t, 1, false, 15*time.Second, new(counts))
	w.whole()
	w.until(time.Minute, "every node serves", w.serving)
	for i := range w.nodes {
		w.until(time.Minute, "a document is written", func() bool { return w.write(i, true) })
	}
	w.until(time.Minute, "the log is older than a lease", func() bool {
		began := time.Now()
		w.evict(0, "*")
		return time.Since(began) < time.Second
	})
	leader := w.leader()
	kinds := []struct {
		what string
		do   func(node int) bool
	}{
		{"an answer from memory", func(i int) bool { _, ok := w.authenticate(i, "s1", 20*time.Second); return ok }},
		{"an answer that is evicted ten times a second", func(i int) bool { _, ok := w.authenticate(i, documents[i], 20*time.Second); return ok }},
		{"an eviction", func(i int) bool {
			before := w.ok[i].Load()
			w.evict(i, documents[i])
			return w.ok[i].Load() > before
		}},
	}
	gaps := make([][3]time.Duration, len(kinds))
	failed := make([][3]int, len(kinds))
	var all sync.WaitGroup
	for k, kind := range kinds {
		for i := range w.nodes {
			all.Go(func() {
				last := time.Now()
				for w.next(time.Duration(1+99*(k/2)) * time.Millisecond) {
					if kind.do(i) {
						gaps[k][i] = max(gaps[k][i], time.Since(last))
						last = time.Now()
					} else {
						failed[k][i]++
					}
				}
			})
		}
	}
	pause(2 * time.Second)
	w.servers[leader].kill()
	pause(18 * time.Second)
	w.end()
	all.Wait()
	for k, kind := range kinds {
		t.Logf("%s: the longest time without one at each node is %v; failures %v", kind.what, rounded(gaps[k]), failed[k])
	}
}

func rounded(gaps [3]time.Duration) string {
	var text [3]time.Duration
	for i, gap := range gaps {
		text[i] = gap.Round(time.Millisecond)
	}
	return fmt.Sprint(text)
}
