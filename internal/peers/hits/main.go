// Command hits hits a cache, for whoever watches what that writes: see
// peers.Writes.
//
//	hits N
//
// It prints the address of a variable that it sets to 1 before the N hits and to 2
// afterwards, and one of the stack of the goroutine that does them.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"unsafe"

	"github.com/svctoken/svctoken/tokencache"
)

var mark atomic.Int64

func main() {
	debug.SetGCPercent(-1)
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	if _, err := tokencache.New(g, "hits", source{}, tokencache.Config{}); err != nil {
		panic(err)
	}
	headers := make([]string, 8)
	account := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	for i := range headers {
		token, err := tokencache.NewToken(account.TokenID(fmt.Sprint("token", i)), tokencache.GenerateSecret())
		if err != nil {
			panic(err)
		}
		headers[i] = "Bearer " + token.RevealBearer()
	}
	hit(g, headers, 3*len(headers)) // loads, and marks
	grow(64)
	fmt.Printf("%d %d\n", uintptr(unsafe.Pointer(&mark)), stack())
	mark.Store(1)
	hit(g, headers, n)
	mark.Store(2)
}

func hit(g *tokencache.Group, headers []string, n int) {
	ctx := context.Background()
	for i := range n {
		if _, err := g.Authenticate(ctx, headers[i%len(headers)]); err != nil {
			panic(err)
		}
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
