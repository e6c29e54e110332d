package peers

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// An Outcome is the result of one schedule for one peer.
type Outcome struct {
	Peer    string
	Kind    string // "key" or "all"
	Saw     string // what the request saw that began after the eviction had returned: "new", "old", or why nothing
	Stays   string // what is cached in the end: "new", "old" or "-"
	Blocked bool   // whether the eviction waited for the load
}

// pause is how long goroutines get to reach whatever they wait for. If a peer is slower
// than this, it only looks better.
const pause = 30 * time.Millisecond

// Forgetting runs the same schedule on every peer, by key and for all keys: a load
// has read the old state; the source changes; the eviction returns; a new request
// starts; the load ends.
func Forgetting() []Outcome {
	var outcomes []Outcome
	for _, maker := range Makers {
		for _, kind := range []string{"key", "all"} {
			outcomes = append(outcomes, forgetting(maker, kind))
		}
	}
	return outcomes
}

func forgetting(maker func(Source) Peer, kind string) Outcome {
	const key = "token1"
	var current atomic.Int64
	var loads atomic.Int64
	current.Store(1)
	read, gate := make(chan struct{}), make(chan struct{})
	p := maker(func(context.Context, string) (Version, error) {
		v := Version(current.Load())
		if loads.Add(1) == 1 { // the load that the schedule is about
			close(read)
			<-gate
		}
		return v, nil
	})
	defer p.Close()
	out := Outcome{Peer: p.Name, Kind: kind}
	evict := p.EvictAll
	if kind == "key" && p.Evict != nil {
		evict = func() { p.Evict(key) }
	}
	if evict == nil {
		close(gate)
		out.Saw, out.Stays = "no eviction", "-"
		return out
	}
	get := func() <-chan Version {
		ch := make(chan Version, 1)
		go func() {
			v, _ := p.Get(context.Background(), key)
			ch <- v
		}()
		return ch
	}

	old := get()
	<-read
	current.Store(2) // revoked, or renewed
	evicted := make(chan struct{})
	go func() { evict(); close(evicted) }()
	select {
	case <-evicted:
	case <-time.After(10 * pause):
		out.Blocked = true
		close(gate)
		<-evicted
	}
	later := get()
	time.Sleep(pause)
	if !out.Blocked {
		close(gate)
	}
	<-old
	out.Saw = name(<-later)
	time.Sleep(pause)

	before := loads.Load()
	v := <-get()
	out.Stays = name(v)
	if loads.Load() != before {
		out.Stays = "-" // it had to be loaded
	}
	return out
}

func name(v Version) string {
	switch v {
	case 1:
		return "old"
	case 2:
		return "new"
	default:
		return fmt.Sprint(int(v))
	}
}

// Table writes outcomes as a Markdown table.
func Table(outcomes []Outcome) string {
	var b strings.Builder
	b.WriteString("| cache | eviction | the new request saw | what stayed cached | the eviction blocked |\n| --- | --- | --- | --- | --- |\n")
	for _, o := range outcomes {
		kind, blocked := "by key", "no"
		if o.Kind == "all" {
			kind = "wildcard, all"
		}
		if o.Blocked {
			blocked = "**yes**"
		}
		if o.Saw == "no eviction" {
			blocked = "-"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", o.Peer, kind, mark(o.Saw), mark(o.Stays), blocked)
	}
	return b.String()
}

func mark(s string) string {
	if s == "old" {
		return "**old**"
	}
	return s
}
