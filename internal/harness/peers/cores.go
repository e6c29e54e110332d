package peers

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/svctoken/svctoken/internal/harness/peers/turns"
	"github.com/svctoken/svctoken/tokencache"
)

// Many is how many goroutines hit at the same time in Cores, as in a server that
// has one for each connection.
const Many = 4000

// Cores compares the processor time of floors and hits when one goroutine does them, when
// two do on cores of their own, and when thousands do. An operation scales if it takes as
// much for two as for one.
func Cores(rounds int) Comparison {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(2, runtime.NumCPU())))
	host, hot := NewHost(HostOptions{}), NewHost(HostOptions{Tokens: 1})
	defer host.Group.Close()
	defer hot.Group.Close()
	var contestants []turns.Contestant
	for _, goroutines := range []int{1, 2, Many} {
		contestants = append(contestants,
			together("floor", goroutines, func() turns.Contestant { return Floor(22) }),
			together("1000 tokens", goroutines, func() turns.Contestant { return Hit("", host) }),
			together("one hot token", goroutines, func() turns.Contestant { return Hit("", hot) }),
		)
	}
	return compare(turns.Process, rounds, contestants...)
}

// together runs the same function in several goroutines at the same time.
func together(name string, goroutines int, make func() turns.Contestant) turns.Contestant {
	each := max(20_000/goroutines, 50)
	return turns.Contestant{
		Name: fmt.Sprintf("%s, %d", name, goroutines),
		N:    each * goroutines,
		Do: func(int) {
			var wg sync.WaitGroup
			for range goroutines {
				do := make().Do
				wg.Go(func() { do(each) })
			}
			wg.Wait()
		},
	}
}

// Beside compares hits while the other core does one of these things without a pause:
// nothing; load and evict a token, in another group (which shares nothing but the
// machine), in another cache of the group, in the same cache, or of the same account; or
// fill and clear another cache.
func Beside(rounds int) Comparison {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(max(2, runtime.NumCPU())))
	ctx := context.Background()
	h := NewHost(HostOptions{})
	defer h.Group.Close()
	other := NewHost(HostOptions{})
	defer other.Group.Close()
	second := must(tokencache.New(h.Group, "second", present{}, tokencache.Config{}))
	elsewhere := tokencache.Account{Namespace: "elastic", Service: "other"}
	busy := func(group *tokencache.Group, account tokencache.Account, ask func(context.Context, tokencache.Token) error) func() {
		token := must(tokencache.NewToken(account.TokenID("busy"), tokencache.NewSecret(secretOf(0, 22))))
		sel := must(token.ID().Select())
		return func() {
			if err := ask(ctx, token); err != nil {
				panic(err)
			}
			group.Evict(ctx, sel)
		}
	}
	groupOf := func(h *Host) func(context.Context, tokencache.Token) error {
		return func(ctx context.Context, t tokencache.Token) error {
			_, err := h.Group.AuthenticateToken(ctx, t)
			return err
		}
	}
	inSecond := func(ctx context.Context, t tokencache.Token) error {
		_, err := second.AuthenticateToken(ctx, t)
		return err
	}
	var some []tokencache.Token
	for i := range 1000 {
		some = append(some, must(tokencache.NewToken(elsewhere.TokenID(tokenName(i)), tokencache.NewSecret(secretOf(i, 22)))))
	}
	return compare(turns.Thread, rounds,
		Hit("nothing", h),
		beside("loads and evicts, another group", h, busy(other.Group, elsewhere, groupOf(other))),
		beside("loads and evicts, another cache", h, busy(h.Group, elsewhere, inSecond)),
		beside("loads and evicts, the same cache", h, busy(h.Group, elsewhere, groupOf(h))),
		beside("loads and evicts, the same account", h, busy(h.Group, Account, groupOf(h))),
		beside("fills and clears another cache", h, func() {
			for _, t := range some {
				must(second.AuthenticateToken(ctx, t))
			}
			second.Clear(ctx, tokencache.CauseAsked)
		}),
	)
}

// beside measures hits while another goroutine does something, again and again.
func beside(name string, h *Host, do func()) turns.Contestant {
	c := Hit(name, h)
	hit := c.Do
	var stop atomic.Bool
	var wg sync.WaitGroup
	c.Prepare = func(int) {
		running := make(chan bool)
		stop.Store(false)
		wg.Go(func() {
			do()
			close(running)
			for !stop.Load() {
				do()
			}
		})
		<-running
	}
	c.Do = func(n int) {
		hit(n)
		stop.Store(true)
		wg.Wait()
	}
	return c
}
