package main

import (
	"context"
	"fmt"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// An attack says what the attackers do while the good callers call.
type attack struct {
	name       string
	prepare    func(ctx context.Context, w *world) error  // before the attack; nil: nothing
	send       func(ctx context.Context, w *world, n int) // one request, the n-th of all; nil: nobody attacks
	hang       bool                                       // reads of one account hang
	outage     bool                                       // the index is down, so that first uses have no answer
	flapping   bool                                       // the index is down every other tenth of a second
	everything bool                                       // all attacks at once
	clears     bool                                       // good callers use tokens that are cleared again and again, not fresh ones
}

func wrongSecrets(ctx context.Context, w *world, n int) {
	w.authenticate(ctx, victim.TokenID(fmt.Sprintf("t-%d", n%victimTokens)), wrong(n), bad)
}

func expensiveHash(ctx context.Context, w *world, n int) {
	w.authenticate(ctx, expensive(n).TokenID(fmt.Sprintf("t-%d", n/expensiveAccounts%10)), wrong(n), bad)
}

func cachedNames(ctx context.Context, w *world, n int) {
	w.authenticate(ctx, goodAccount(n%cachedTokens).TokenID(fmt.Sprintf("cached-%d", n%cachedTokens)), wrong(n), bad)
}

func ownNames(ctx context.Context, w *world, n int) {
	w.authenticate(ctx, regular.TokenID(fmt.Sprintf("r-%d", n%regulars)), wrong(n), bad)
}

// warmRegulars uses the tokens that are cleared.
func warmRegulars(ctx context.Context, w *world) error {
	for i := range regulars {
		if err := w.authenticate(ctx, regular.TokenID(fmt.Sprintf("r-%d", i)), w.secret, good); err != nil {
			return err
		}
	}
	return nil
}

// leak makes a token, which is used and then revoked. Its secret was good under one name.
func leak(ctx context.Context, w *world) error {
	id := victim.TokenID("leaked")
	w.leaked = tokencache.GenerateSecret()
	if err := w.index.Put(ctx, document(id, tokenhash.Stretched(w.leaked))); err != nil {
		return err
	}
	if err := w.authenticate(ctx, id, w.leaked, good); err != nil {
		return err
	}
	return w.index.Delete(ctx, id)
}

// leakedSecret sends the revoked secret under every name of its account, and of others.
// It was good under one name, and must not get in front of good tokens under another.
func leakedSecret(ctx context.Context, w *world, n int) {
	id := victim.TokenID(fmt.Sprintf("t-%d", n/2%victimTokens))
	if n%2 == 1 {
		id = other(n / 2).TokenID("t")
	}
	w.authenticate(ctx, id, w.leaked, bad)
}

func unknownNames(ctx context.Context, w *world, n int) {
	w.authenticate(ctx, tokencache.Account{Namespace: "nobody", Service: fmt.Sprintf("s-%d", n)}.TokenID("t"), wrong(n), bad)
}

func longSecrets(ctx context.Context, w *world, _ int) {
	w.send(ctx, victim.TokenID("t-1"), w.long, bad)
}

func hangingReads(ctx context.Context, w *world, n int) {
	w.authenticate(ctx, hanging.TokenID(fmt.Sprintf("h-%d", n)), wrong(n), bad)
}

func evictions(ctx context.Context, w *world, _ int) {
	if sel, err := victim.SelectAll(); err == nil {
		w.group.Evict(ctx, sel)
	}
}

var everything = []func(context.Context, *world, int){
	wrongSecrets, expensiveHash, leakedSecret, cachedNames, unknownNames, longSecrets, hangingReads, evictions,
}

var attacks = []attack{
	{name: "nobody"},
	{name: "hashes of one account", send: wrongSecrets},
	{name: "expensive hashes of six accounts", send: expensiveHash},
	{name: "hashes of their own names", prepare: warmRegulars, send: ownNames, clears: true},
	{name: "hashes of a revoked secret, under every other name", prepare: leak, send: leakedSecret},
	{name: "wrong secrets, cached names", send: cachedNames},
	{name: "names that nobody holds", send: unknownNames},
	{name: "secrets of 700 kB", send: longSecrets},
	{name: "reads that hang, one account", send: hangingReads, hang: true},
	{name: "evictions without a pause", send: evictions},
	{name: "an outage of the index", outage: true},
	{name: "all at once, index flapping", prepare: leak, everything: true, hang: true, flapping: true, send: func(ctx context.Context, w *world, n int) {
		everything[n%len(everything)](ctx, w, n/len(everything))
	}},
}

func wrong(n int) tokencache.Secret { return tokencache.NewSecret(fmt.Sprintf("wrong-secret-%d", n)) }
