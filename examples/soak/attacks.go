package main

import (
	"context"
	"fmt"

	"github.com/svctoken/svctoken/tokencache"
)

// An attack is what the attackers do while the good callers call.
type attack struct {
	name   string
	send   func(ctx context.Context, w *world, n int) // one request, the n-th of all; nil: nobody attacks
	outage bool                                       // the index is down, so that first uses must fail
	hang   bool                                       // reads of the victim hang
}

var attacks = []attack{
	{name: "nobody"},
	{name: "wrong secrets, one account", send: func(ctx context.Context, w *world, n int) {
		w.authenticate(ctx, victim.TokenID(fmt.Sprintf("t-%d", n%100)), wrong(n))
	}},
	{name: "wrong secrets, the good names", send: func(ctx context.Context, w *world, n int) {
		w.authenticate(ctx, goodAccount(n).TokenID(fmt.Sprintf("cached-%d", n%cachedTokens)), wrong(n))
	}},
	{name: "names that nobody holds", send: func(ctx context.Context, w *world, n int) {
		w.authenticate(ctx, tokencache.Account{Namespace: "nobody", Service: fmt.Sprintf("s-%d", n)}.TokenID("t"), wrong(n))
	}},
	{name: "secrets of 700 kB", send: func(ctx context.Context, w *world, n int) {
		w.group.Authenticate(ctx, long)
	}},
	{name: "reads that hang, one account", hang: true, send: func(ctx context.Context, w *world, n int) {
		w.authenticate(ctx, victim.TokenID(fmt.Sprintf("h-%d", n)), wrong(n))
	}},
	{name: "evictions without a pause", send: func(ctx context.Context, w *world, n int) {
		if sel, err := victim.SelectAll(); err == nil {
			w.group.Evict(ctx, tokencache.CauseAsked, sel)
		}
	}},
	{name: "an outage of the index", outage: true},
}

func wrong(n int) tokencache.Secret { return tokencache.NewSecret(fmt.Sprintf("wrong-secret-%d", n)) }
