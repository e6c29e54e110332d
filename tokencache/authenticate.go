package tokencache

import (
	"context"
	"errors"
	"strings"
)

// A Verdict is a success: the token was presented with its secret.
type Verdict[R any] struct {
	Token  TokenID // whose token it is
	Cache  string  // the name of the cache that confirmed it, and so of its source
	Record R       // what the source knows of it; shared, so not to be changed

	FromMemory bool // whether the cache remembered it; otherwise the source was asked
	Stale      bool // whether it is past its time, and the source does not answer: see Config.ServeStale
}

// Authenticate answers for the value of an Authorization header, "Bearer" and the
// token. The first cache that remembers the token with this secret answers, in the
// order in which the caches were added; if none does, the sources are asked in
// that order, and the first that confirms the token ends it. So does the first that
// cannot answer: the next source is not asked. A cache whose memory refuses the
// token (it holds another secret for the name, or remembers that there is no such
// name) does not ask its source.
//
// The error wraps [ErrNotServiceToken] if the value is not a service token, so
// that the host can go on to its other schemes. It is a [*RefusedError], which
// wraps [ErrRefused], if no source confirms the token: answer 401. In all other
// cases it is a [*NoAnswerError], and the token is neither confirmed nor refused:
// answer 503.
//
// A token that moves from one source to another is confirmed all the while, if the
// source that gains it tells its caches before the other loses it, and does not
// move more than three times during the call.
//
// The context bounds how long the call waits. It must not be nil. A hit never
// waits, and ignores it.
func (g *Group) Authenticate(ctx context.Context, authorization string) (v Verdict[any], err error) {
	err = g.authenticate(ctx, nil, authorization, &v)
	return v, err
}

// AuthenticateToken is [Group.Authenticate] for a token that has been parsed.
func (g *Group) AuthenticateToken(ctx context.Context, token Token) (v Verdict[any], err error) {
	err = g.authenticateToken(ctx, nil, token, &v)
	return v, err
}

// Authenticate is [Group.Authenticate] for this cache alone, with the record in
// its own type.
func (c *Cache[R]) Authenticate(ctx context.Context, authorization string) (Verdict[R], error) {
	var v Verdict[any]
	err := c.group.authenticate(ctx, c.store, authorization, &v)
	return typed[R](&v), err
}

// AuthenticateToken is [Cache.Authenticate] for a token that has been parsed.
func (c *Cache[R]) AuthenticateToken(ctx context.Context, token Token) (Verdict[R], error) {
	var v Verdict[any]
	err := c.group.authenticateToken(ctx, c.store, token, &v)
	return typed[R](&v), err
}

// typed returns the verdict with its record's own type. The zero verdict, beside an
// error, stays zero.
func typed[R any](v *Verdict[any]) Verdict[R] {
	record, _ := v.Record.(R) // fails for a nil interface only
	return Verdict[R]{v.Token, v.Cache, record, v.FromMemory, v.Stale}
}

// authenticate sets the verdict, or returns why there is none. It fills in *v, like the
// functions that it calls: returning eleven words by value costs a measurable part of a
// hit. If only is nil, it asks all caches.
func (g *Group) authenticate(ctx context.Context, only *store, authorization string, v *Verdict[any]) error {
	bearer, ok := cutScheme(authorization)
	if !ok {
		return g.reject(errScheme)
	}
	if len(bearer) <= g.limits.bearer {
		if done, err := g.fromMemory(only, bearer, v); done {
			return err
		}
	}
	return g.authenticateBearer(ctx, only, bearer, v)
}

// fromMemory reports whether memory suffices for an answer.
func (g *Group) fromMemory(only *store, bearer string, v *Verdict[any]) (done bool, err error) {
	return g.answer(g.remember(only, bearer, v), v)
}

func (g *Group) answer(r recall, v *Verdict[any]) (done bool, err error) {
	if r == confirmed {
		return true, nil
	}
	if r == unknown {
		return false, nil
	}
	id := v.Token
	v.Token = TokenID{}
	return true, g.refuse(id, Reason(r))
}

// authenticateBearer is authenticate for a bearer that has to be decoded.
func (g *Group) authenticateBearer(ctx context.Context, only *store, bearer string, v *Verdict[any]) error {
	if g.stores.Load() == nil {
		return g.fail(ctx, &NoAnswerError{Reason: ReasonUnavailable, Err: errZeroGroup})
	}
	a := attempt{only: only}
	if err := g.parse(&a, bearer); err != nil {
		return err
	}
	done, err := g.answer(g.recall(only, &a.query, v), v)
	if !done {
		err = g.load(ctx, &a, v)
	}
	g.wipe(&a)
	return err
}

var errZeroGroup = errors.New("the group was not made by NewGroup")

// wipe overwrites the secret that was decoded, or leaves that to the load which still
// uses it.
func (g *Group) wipe(a *attempt) {
	if a.lent == nil {
		clear(a.token.secret.bytes())
		return
	}
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	a.lent.custody.leaveLocked()
}

// parse decodes the bearer.
func (g *Group) parse(a *attempt, bearer string) error {
	if len(bearer) > g.limits.bearer && strings.HasPrefix(bearer, encodedPrefix) {
		return g.refuse(TokenID{}, ReasonSecretLength)
	}
	token, err := ParseBearer(bearer)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return g.refuse(refused.Token, refused.Reason)
	}
	if err != nil {
		return g.reject(err)
	}
	if token.secret.Len() > g.limits.secret {
		clear(token.secret.bytes())
		return g.refuse(token.id, ReasonSecretLength)
	}
	a.token = token
	unpadded, _ := trimPadding(bearer)
	cut := sextets(len(bearerPrefix) + token.id.length() + len(":"))
	a.query = query{bearer: unpadded, cut: cut, digested: true}
	a.query.hash = g.memory.keys.hashHead(unpadded[:cut])
	g.memory.keys.digestTail(&a.query.digest, unpadded[cut:])
	return nil
}

func (g *Group) authenticateToken(ctx context.Context, only *store, token Token, v *Verdict[any]) error {
	if g.stores.Load() == nil {
		return g.fail(ctx, &NoAnswerError{Token: token.id, Reason: ReasonUnavailable, Err: errZeroGroup})
	}
	if n := token.secret.Len(); n < minSecret || n > g.limits.secret {
		return g.refuse(token.id, ReasonSecretLength)
	}
	a := attempt{only: only, token: token, query: g.newQuery(&token)}
	if done, err := g.answer(g.recall(only, &a.query, v), v); done {
		return err
	}
	return g.load(ctx, &a, v)
}

// reject counts a credential that is not a service token.
func (g *Group) reject(err error) error {
	g.outcomes.rejected()
	return err
}

// refuse counts a refusal.
func (g *Group) refuse(id TokenID, reason Reason) error {
	g.outcomes.refused()
	return &RefusedError{Token: id, Reason: reason}
}

// fail counts an authentication without an answer, and tells the observer if it was
// turned away.
func (g *Group) fail(ctx context.Context, err *NoAnswerError) error {
	g.outcomes.failed(err.Reason)
	if g.work.observer != nil && (err.Reason == ReasonOverloaded || err.Reason == ReasonUnavailable) {
		g.work.tell(context.WithoutCancel(ctx), Event{Kind: EventOverload, Cache: err.Cache, Token: err.Token, Reason: err.Reason, Err: err.clone()})
	}
	return err
}
