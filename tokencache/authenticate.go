package tokencache

import (
	"context"
	"fmt"
	"math/bits"
	"strings"
)

// A Verdict is a success: the token was presented with its secret.
type Verdict[R any] struct {
	Token  TokenID // whose token it is
	Cache  string  // the name of the cache that confirmed it, and so of its source
	Record R       // what the source knows of it; shared, so not to be changed
}

// Authenticate answers for the value of an Authorization header, "Bearer" and
// the token. It asks the caches of the group in the order in which they were
// added; the first that confirms the token ends it, and so does the first error.
//
// The error wraps [ErrNotServiceToken] where the value is not a service token,
// so that the host can go on to its other schemes; [ErrRefused] where no source
// confirms the token; [ErrClosed] where a closed cache was needed; and
// what the source or the context said where there is no answer. In that last
// case the token is neither confirmed nor refused: answer 503, not 401.
//
// The context bounds how long the call waits. A hit never waits, and ignores it.
func (g *Group) Authenticate(ctx context.Context, authorization string) (v Verdict[any], err error) {
	err = g.authenticate(ctx, *g.stores.Load(), authorization, &v)
	return v, err
}

// AuthenticateToken is [Group.Authenticate] for a token that has been parsed.
func (g *Group) AuthenticateToken(ctx context.Context, token Token) (v Verdict[any], err error) {
	err = g.authenticateToken(ctx, *g.stores.Load(), token, &v)
	return v, err
}

// Authenticate is [Group.Authenticate] for this cache alone, with the record in
// its own type.
func (c *Cache[R]) Authenticate(ctx context.Context, authorization string) (Verdict[R], error) {
	var v Verdict[any]
	err := c.store.group.authenticate(ctx, []*store{c.store}, authorization, &v)
	return typed[R](&v), err
}

// AuthenticateToken is [Cache.Authenticate] for a token that has been parsed.
func (c *Cache[R]) AuthenticateToken(ctx context.Context, token Token) (Verdict[R], error) {
	var v Verdict[any]
	err := c.store.group.authenticateToken(ctx, []*store{c.store}, token, &v)
	return typed[R](&v), err
}

// typed returns the verdict with its record's own type. The zero verdict, beside an
// error, stays zero.
func typed[R any](v *Verdict[any]) Verdict[R] {
	record, _ := v.Record.(R) // fails for a nil interface only
	return Verdict[R]{v.Token, v.Cache, record}
}

// stackBuffer is how long a decoded bearer may be before it needs an allocation:
// a qualified name of 200 bytes with a generated secret fits.
const stackBuffer = 256

// authenticate sets the verdict, or returns why there is none. Like what it calls,
// it takes the verdict by reference: ten words, copied at each return, are seen in
// a hit's time.
func (g *Group) authenticate(ctx context.Context, stores []*store, authorization string, v *Verdict[any]) error {
	bearer, ok := cutScheme(authorization)
	if !ok {
		return errScheme
	}
	var q query
	if g.guess(&q, bearer) && g.fromMemory(stores, &q, v) {
		return nil
	}
	return g.authenticateBearer(ctx, stores, bearer, v)
}

// authenticateBearer is authenticate for a bearer that is to be decoded.
func (g *Group) authenticateBearer(ctx context.Context, stores []*store, bearer string, v *Verdict[any]) error {
	var buf [stackBuffer]byte
	qualified, secret, err := decodeBearer(buf[:], bearer)
	if err != nil {
		return err
	}
	q := g.newQuery(strings.TrimRight(bearer, "="), qualified)
	if g.fromMemory(stores, &q, v) {
		return nil
	}
	token, err := parseToken(qualified, secret)
	if err != nil {
		return err
	}
	return g.load(ctx, stores, token, &q, v)
}

// fromMemory is the hit path: it finds the first cache that confirms the token,
// where every cache before it refuses the token without a load.
func (g *Group) fromMemory(stores []*store, q *query, v *Verdict[any]) bool {
	var mismatched, absent uint64 // sets of the caches before this one
	for i, s := range stores {
		e, hit := s.peek(q)
		switch {
		case hit:
			if g.known != nil && !g.known(e.cell.account) {
				return false
			}
			// The caches before this one come first in time too: look at the entry
			// once more after their sources have spoken.
			if absent != 0 && !(absentIn(stores, absent, e.id()) && e.live(&g.clock)) {
				return false
			}
			for m := mismatched; m != 0; m &= m - 1 {
				stores[bits.TrailingZeros64(m)].hits.mismatch()
			}
			s.hits.hit()
			s.touch(e)
			v.Token.Account, v.Token.Name = e.cell.account, e.name
			v.Cache, v.Record = s.name, e.record
			return true
		case e != nil:
			mismatched |= 1 << i
		case s.mayHold != nil:
			absent |= 1 << i // to be asked once there is an id that needs no allocation
		default:
			return false
		}
	}
	return false
}

// absentIn reports whether the sources of this set of stores all say that they
// do not hold the token.
func absentIn(stores []*store, set uint64, id TokenID) bool {
	for ; set != 0; set &= set - 1 {
		if stores[bits.TrailingZeros64(set)].mayHold(id) {
			return false
		}
	}
	return true
}

func (g *Group) authenticateToken(ctx context.Context, stores []*store, token Token, v *Verdict[any]) error {
	if token.secret.Len() < minSecret {
		return errShortSecret
	}
	var buf [stackBuffer]byte
	q := g.newTokenQuery(token, buf[:])
	return g.load(ctx, stores, token, &q, v)
}

// load asks the stores in turn, from memory or from their sources.
func (g *Group) load(ctx context.Context, stores []*store, token Token, q *query, v *Verdict[any]) error {
	if g.known != nil && !g.known(token.id.Account) {
		return errUnknownAccount
	}
	for _, s := range stores {
		a, err := s.authenticate(ctx, token, q)
		if err != nil {
			return err
		}
		if a.ok {
			v.Token, v.Cache, v.Record = token.id, s.name, a.record
			return nil
		}
	}
	return fmt.Errorf("%w: %s", ErrRefused, token.id)
}
