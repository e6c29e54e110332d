package natstest_test

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetnats"
)

// A block of docs/fleet.md, compiled.

var _ = func(ctx context.Context, url string, join func(fleetlog.Log)) error {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1)) // it must not give up
	if err != nil {
		return err
	}
	log, err := fleetnats.Open(ctx, nc, fleetnats.Config{})
	if err != nil {
		return err
	}
	join(log)
	return nil
}
