// Command hits hits a cache while another program watches it: see peers.Writes and
// peers.Instructions.
//
//	hits [-floor] [-clock] [-signal] [-secret BYTES] [-option NAME] N
//
// It prints the address of a variable that it sets to 1 before the N hits and to 2
// afterwards, and one of the stack of the goroutine that does them. With -signal it
// sends its thread SIGUSR1 at both moments. With -floor it does what peers.Floor
// does instead of hitting, and with -clock it reads the clock.
package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/svctoken/svctoken/internal/harness/peers/options"
	"github.com/svctoken/svctoken/tokencache"
)

var mark atomic.Int64

func init() { runtime.LockOSThread() } // main runs on the first thread, which is the one that is watched

func main() {
	floor := flag.Bool("floor", false, "do what no cache can avoid, instead of hitting")
	clock := flag.Bool("clock", false, "read the clock, instead of hitting")
	signal := flag.Bool("signal", false, "send SIGUSR1 before and after")
	secret := flag.Int("secret", 22, "the secrets' length in `bytes`")
	option := flag.String("option", options.None, "the `name` of what is set in the group and its cache: see package options")
	flag.Parse()
	n, err := strconv.Atoi(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, "hits: name a number of hits")
		os.Exit(2)
	}
	debug.SetGCPercent(-1)
	do := hitter(*option, *secret)
	if *floor {
		do = floorer(*secret)
	}
	if *clock {
		do = readClock
	}
	do(24) // loads, and marks
	grow(64)
	fmt.Printf("%d %d\n", uintptr(unsafe.Pointer(&mark)), stack())
	if *signal {
		raise()
	}
	mark.Store(1)
	do(n)
	mark.Store(2)
	if *signal {
		raise()
	}
}

// hitter returns a function that hits eight tokens in turn.
func hitter(option string, secret int) func(n int) {
	i := slices.IndexFunc(options.All, func(o options.Option) bool { return o.Name == option })
	if i < 0 {
		panic("no option " + option)
	}
	g, err := options.NewGroup(options.All[i], source{})
	if err != nil {
		panic(err)
	}
	headers := make([]string, 8)
	for i := range headers {
		value := strings.Repeat(strconv.Itoa(i), secret)
		token, err := tokencache.NewToken(options.Account.TokenID(fmt.Sprintf("token-%09d", i)), tokencache.NewSecret(value))
		if err != nil {
			panic(err)
		}
		headers[i] = "Bearer " + token.RevealBearer()
	}
	ctx := context.Background()
	return func(n int) {
		for i := range n {
			if _, err := g.Authenticate(ctx, headers[i%len(headers)]); err != nil {
				panic(err)
			}
		}
	}
}

// floorer returns a function that hashes and compares.
func floorer(secret int) func(n int) {
	buf := make([]byte, 16+secret)
	var want [sha256.Size]byte
	return func(n int) {
		for range n {
			sum := sha256.Sum256(buf)
			subtle.ConstantTimeCompare(sum[:], want[:])
		}
	}
}

func readClock(n int) {
	for range n {
		runtime.KeepAlive(time.Now())
	}
}

// grow makes the stack large enough for what follows, so that it stays where it is.
//
//go:noinline
func grow(depth int) (sum byte) {
	var b [1024]byte
	if depth > 0 {
		sum = grow(depth - 1)
	}
	return sum + b[depth]
}

//go:noinline
func stack() uintptr {
	var local byte
	return uintptr(unsafe.Pointer(&local))
}

// source confirms every token.
type source struct{}

func (source) Lookup(context.Context, tokencache.TokenID) (tokencache.Answer[struct{}], error) {
	return tokencache.Answer[struct{}]{Held: true, Verify: func(tokencache.Secret) bool { return true }}, nil
}

func (source) Subscribe(tokencache.Invalidator) func() { return func() {} }
