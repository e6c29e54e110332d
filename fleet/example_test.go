package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync/atomic"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

func Example() {
	ctx := context.Background()
	shared := fleettest.NewLog() // a real fleet has an engine such as fleet/fleetnats
	start := func(name string) (*tokencache.Group, *fleet.Node) {
		group := tokencache.NewGroup(tokencache.GroupConfig{})
		node, err := fleet.New(shared.Connect(), group, fleet.Config{Name: name})
		if err != nil {
			log.Fatal(err)
		}
		if _, err := tokencache.New(group, "index", indexsource.New(node.Index()), tokencache.Config{}); err != nil {
			log.Fatal(err)
		}
		if err := node.Wait(ctx); err != nil {
			log.Fatal(err)
		}
		return group, node
	}
	here, hereNode := start("here")
	defer here.Close()
	defer hereNode.Close()
	there, thereNode := start("there")
	defer there.Close()
	defer thereNode.Close()

	// In its first lease a log makes every change wait for one; a test skips that.
	shared.Settle()

	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	token, err := hereNode.Index().Create(ctx, id, "operator")
	if err != nil {
		log.Fatal(err)
	}
	verdict, err := there.AuthenticateToken(ctx, token)
	fmt.Println(verdict.Token, err)

	if _, err := hereNode.Index().Delete(ctx, id); err != nil {
		log.Fatal(err)
	}
	_, err = there.AuthenticateToken(ctx, token)
	fmt.Println(err)
	// Output:
	// elastic/fleet-server/token1 <nil>
	// tokencache: token refused: elastic/fleet-server/token1: unknown_token
}

// counting is an engine that counts what another one is asked, for metrics.
type counting struct {
	fleet.Engine
	appended, conflicts, followed, sent atomic.Int64
}

func (c *counting) Append(ctx context.Context, entry fleet.Entry) (fleet.Position, error) {
	position, err := c.Engine.Append(ctx, entry)
	c.appended.Add(1)
	if entry.If != nil && errors.Is(err, fleet.ErrConflict) {
		c.conflicts.Add(1)
	}
	return position, err
}

func (c *counting) Follow(ctx context.Context, from fleet.Position) (fleet.Follower, error) {
	inner, err := c.Engine.Follow(ctx, from)
	return &follower{inner, c}, err
}

func (c *counting) Send(address string, data []byte) {
	c.sent.Add(1)
	c.Engine.Send(address, data)
}

type follower struct {
	fleet.Follower
	counts *counting
}

func (f *follower) Next(ctx context.Context) (fleet.Message, error) {
	message, err := f.Follower.Next(ctx)
	switch {
	case errors.Is(err, fleet.ErrGap):
		log.Print("the node starts anew") // it clears its caches first
	case err == nil && !message.Skipped && !message.Deleted:
		f.counts.followed.Add(1)
	}
	return message, err
}

func ExampleEngine() {
	ctx := context.Background()
	shared := fleettest.NewLog()
	engine := &counting{Engine: shared.Connect()}
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	var applied, renewed atomic.Int64
	counters := map[fleet.EventKind]*atomic.Int64{fleet.EventApplied: &applied, fleet.EventRenewed: &renewed}
	var caches fleet.Caches = group // what the node keeps in step
	node, err := fleet.New(engine, caches, fleet.Config{Name: "here", Observer: func(ev fleet.Event) {
		if counter := counters[ev.Kind]; counter != nil {
			counter.Add(1)
		}
	}})
	if err != nil {
		log.Fatal(err)
	}
	if err := node.Wait(ctx); err != nil {
		log.Fatal(err)
	}
	shared.Settle()

	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	if _, err := node.Index().Create(ctx, id, "operator"); err != nil {
		log.Fatal(err)
	}
	var view fleet.View
	view, err = engine.Read(ctx, "meta")
	fmt.Println(view.Position > 0, len(view.Messages), err)
	node.Close()
	err = node.Wait(ctx)
	fmt.Println(errors.Is(err, fleet.ErrClosed), engine.appended.Load() > 1, engine.followed.Load() > 1)
	// Output:
	// true 1 <nil>
	// true true true
}
