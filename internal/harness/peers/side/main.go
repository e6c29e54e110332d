// Command side hits, misses and evicts on request, and prints the time, so that report
// can let two versions of svctoken take turns. It is built in a tree of each version, and
// so uses only parts of it that are unlikely to change.
//
// It reads lines with a name and a number, and does it so many times. For each line it
// prints the nanoseconds of the processor's time. The names: hit, miss, eviction.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/internal/harness/peers/turns"
	"github.com/svctoken/svctoken/tokencache"
)

// An operation can be done n times.
type operation struct {
	clock   turns.Clock
	prepare func() // before each one, untimed; nil: nothing
	do      func()
}

func main() {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	operations := map[string][]operation{}
	for range instances {
		operations["hit"] = append(operations["hit"], hit())
		operations["miss"] = append(operations["miss"], miss())
		operations["eviction"] = append(operations["eviction"], eviction())
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var name string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &name, &n); err != nil {
			fail(err)
		}
		list := operations[name]
		if list == nil {
			fail(fmt.Errorf("there is no operation %q", name))
		}
		runtime.GC()
		fmt.Println(list[0].run(n).Nanoseconds())
		operations[name] = append(list[1:], list[0])
	}
}

func (o operation) run(n int) (took time.Duration) {
	if o.clock == turns.Thread { // a goroutine with a thread of its own is slow to switch from, as a miss does
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	if o.prepare == nil {
		began := turns.Now(o.clock)
		for range n {
			o.do()
		}
		return turns.Now(o.clock) - began
	}
	for range n {
		o.prepare()
		began := turns.Now(o.clock)
		o.do()
		took += turns.Now(o.clock) - began
	}
	return took
}

const (
	instances  = 4    // of each, in turn: where names fall in the table is chance
	live       = 1000 // tokens that are hit
	others     = 10_000
	perAccount = 10 // tokens of an account that is evicted
)

var (
	account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	ten     = tokencache.Account{Namespace: "elastic", Service: "ten"}
)

// hit hits a thousand tokens in turn.
func hit() operation {
	group := newGroup(live)
	values := headers(account, live)
	authenticate(group, values)
	i := 0
	return operation{clock: turns.Thread, do: func() {
		authenticateOne(group, values[i])
		if i++; i == live {
			i = 0
		}
	}}
}

// miss lets two tokens take turns in a cache for one, so that each call loads, stores,
// and displaces.
func miss() operation {
	group := newGroup(1)
	values := headers(account, 2)
	i := 0
	return operation{clock: turns.Process, do: func() {
		authenticateOne(group, values[i%2])
		i++
	}}
}

// eviction evicts an account of ten tokens, by wildcard, beside ten thousand others.
func eviction() operation {
	group := newGroup(others + perAccount)
	evictor := evict.New(group)
	authenticate(group, headers(account, others))
	values := headers(ten, perAccount)
	return operation{
		clock:   turns.Thread,
		prepare: func() { authenticate(group, values) },
		do: func() {
			if _, err := evictor.Evict(context.Background(), ten.Namespace, ten.Service, "*"); err != nil {
				fail(err)
			}
		},
	}
}

func newGroup(entries int) *tokencache.Group {
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	if _, err := tokencache.New(group, "cache", present{}, tokencache.Config{MaxEntries: entries}); err != nil {
		fail(err)
	}
	return group
}

func headers(a tokencache.Account, n int) (values []string) {
	for i := range n {
		token, err := tokencache.NewToken(a.TokenID(fmt.Sprintf("token-%09d", i)), tokencache.GenerateSecret())
		if err != nil {
			fail(err)
		}
		values = append(values, "Bearer "+token.RevealBearer())
	}
	return values
}

func authenticate(group *tokencache.Group, values []string) {
	for _, value := range values {
		authenticateOne(group, value)
	}
}

func authenticateOne(group *tokencache.Group, value string) {
	if _, err := group.Authenticate(context.Background(), value); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "side:", err)
	os.Exit(1)
}

// present holds every token and accepts any secret.
type present struct{}

func (present) Lookup(context.Context, tokencache.TokenID) (tokencache.Answer[struct{}], error) {
	return tokencache.Answer[struct{}]{Held: true, Verify: func(tokencache.Secret) bool { return true }}, nil
}

func (present) Subscribe(tokencache.Invalidator) func() { return func() {} }
