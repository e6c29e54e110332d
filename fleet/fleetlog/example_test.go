package fleetlog_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"sync/atomic"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/tokencache"
)

// A counting log counts the calls of another log.
type counting struct {
	fleetlog.Log
	appended, conflicts, followed, sent atomic.Int64
}

func (c *counting) Append(ctx context.Context, entry fleetlog.Entry) (fleetlog.Position, error) {
	position, err := c.Log.Append(ctx, entry)
	c.appended.Add(1)
	switch {
	case errors.Is(err, fleetlog.ErrUnfit):
		log.Print("the log will never take this, however often it is asked")
	case entry.If != nil && errors.Is(err, fleetlog.ErrConflict):
		c.conflicts.Add(1)
	}
	return position, err
}

func (c *counting) Follow(ctx context.Context, from fleetlog.Position) (fleetlog.Follower, error) {
	inner, err := c.Log.Follow(ctx, from)
	return &follower{inner, c}, err
}

func (c *counting) Send(address string, data []byte) {
	c.sent.Add(1)
	c.Log.Send(address, data)
}

type follower struct {
	fleetlog.Follower
	counts *counting
}

func (f *follower) Next(ctx context.Context) (fleetlog.Message, error) {
	message, err := f.Follower.Next(ctx)
	switch {
	case errors.Is(err, fleetlog.ErrGap):
		log.Print("the node starts anew") // it clears its caches first
	case err == nil && !message.Skipped && !message.Deleted:
		f.counts.followed.Add(1)
	}
	return message, err
}

func Example() {
	ctx := context.Background()
	shared := fleettest.NewLog()
	counted := &counting{Log: shared.Connect()}
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	var applied, renewed atomic.Int64
	counters := map[fleet.EventKind]*atomic.Int64{fleet.EventApplied: &applied, fleet.EventRenewed: &renewed}
	node, err := fleet.New(counted, group, fleet.Config{Name: "here", Observer: func(ev fleet.Event) {
		if counter := counters[ev.Kind]; counter != nil {
			counter.Add(1)
		}
	}})
	if err != nil {
		log.Fatal(err)
	}
	if err := node.Ready(ctx); err != nil {
		log.Fatal(err)
	}
	shared.Settle()

	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	if _, err := node.Index().Create(ctx, id, "operator"); err != nil {
		log.Fatal(err)
	}
	var view fleetlog.View
	view, err = counted.Read(ctx, "meta")
	fmt.Println(view.Position > 0, len(view.Messages), err)
	node.Close()
	err = node.Ready(ctx)
	fmt.Println(errors.Is(err, tokencache.ErrClosed), counted.appended.Load() > 1, counted.followed.Load() > 1)
	// Output:
	// true 1 <nil>
	// true true true
}
