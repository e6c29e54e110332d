//go:build unix

package natstest_test

import (
	"runtime"
	"testing"
	"time"
)

// TestMemory prints what a node takes, and what it receives:
//
//	go -C fleet/fleetnats/natstest test . -run TestMemory -measure -v
func TestMemory(t *testing.T) {
	if !*measure {
		t.Skip("it runs with -measure")
	}
	c := cluster(t, 3)
	const warm, more, lease = 10, 40, 5 * time.Second
	var hosts []*host
	add := func(n int) {
		for range n {
			hosts = append(hosts, newHost(t, c, len(hosts), lease))
		}
		<-time.After(lease) // what starting takes, has gone
		runtime.GC()
	}
	add(warm)
	goroutines, memory := runtime.NumGoroutine(), heap()
	add(more)
	t.Logf("a node takes %d goroutines and %d kB, with the proxy's and the server's side of its connection", (runtime.NumGoroutine()-goroutines)/more, (heap()-memory)/more/1024)
	before := hosts[0].nc.Stats()
	<-time.After(2 * lease)
	after := hosts[0].nc.Stats()
	messages, bytes := after.InMsgs-before.InMsgs, after.InBytes-before.InBytes
	t.Logf("in two leases of %v, a node of %d received %d messages of %d bytes on average", lease, len(hosts), messages, bytes/messages)
}
