package tokencache

import (
	"context"
	"fmt"
	"math/bits"
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
func (g *Group) Authenticate(ctx context.Context, authorization string) (Verdict[any], error) {
	return g.authenticate(ctx, *g.stores.Load(), authorization)
}

// AuthenticateToken is [Group.Authenticate] for a token that has been parsed.
func (g *Group) AuthenticateToken(ctx context.Context, token Token) (Verdict[any], error) {
	return g.authenticateToken(ctx, *g.stores.Load(), token)
}

// Authenticate is [Group.Authenticate] for this cache alone, with the record in
// its own type.
func (c *Cache[R]) Authenticate(ctx context.Context, authorization string) (Verdict[R], error) {
	return typed[R](c.store.group.authenticate(ctx, []*store{c.store}, authorization))
}

// AuthenticateToken is [Cache.Authenticate] for a token that has been parsed.
func (c *Cache[R]) AuthenticateToken(ctx context.Context, token Token) (Verdict[R], error) {
	return typed[R](c.store.group.authenticateToken(ctx, []*store{c.store}, token))
}

func typed[R any](v Verdict[any], err error) (Verdict[R], error) {
	if err != nil {
		return Verdict[R]{}, err
	}
	record, _ := v.Record.(R) // fails for a nil interface only
	return Verdict[R]{v.Token, v.Cache, record}, nil
}

// stackBuffer is how long a decoded bearer may be before it needs an allocation:
// a qualified name of 200 bytes with a generated secret fits.
const stackBuffer = 256

func (g *Group) authenticate(ctx context.Context, stores []*store, authorization string) (Verdict[any], error) {
	bearer, ok := cutScheme(authorization)
	if !ok {
		return Verdict[any]{}, errScheme
	}
	var buf [stackBuffer]byte
	qualified, secret, err := decodeBearer(buf[:], bearer)
	if err != nil {
		return Verdict[any]{}, err
	}
	q := query{hash: g.hash(qualified), qualified: qualified, digest: g.digest(secret)}
	if v, ok := g.fromMemory(stores, &q); ok {
		return v, nil
	}
	token, err := ParseBearer(bearer)
	if err != nil {
		return Verdict[any]{}, err
	}
	return g.authenticateToken(ctx, stores, token)
}

// fromMemory is the hit path: it finds the first cache that confirms the token,
// where every cache before it refuses the token without a load.
func (g *Group) fromMemory(stores []*store, q *query) (Verdict[any], bool) {
	var mismatched, absent uint64 // sets of the caches before this one
	for i, s := range stores {
		e, hit := s.peek(q)
		switch {
		case hit:
			id := e.id()
			if g.known != nil && !g.known(id.Account) {
				return Verdict[any]{}, false
			}
			// The caches before this one come first in time too: look at the entry
			// once more after their sources have spoken.
			if absent != 0 && !(absentIn(stores, absent, id) && e.live(&g.clock)) {
				return Verdict[any]{}, false
			}
			for m := mismatched; m != 0; m &= m - 1 {
				stores[bits.TrailingZeros64(m)].hits.mismatch()
			}
			s.hits.hit()
			s.touch(e)
			return Verdict[any]{id, s.name, e.record}, true
		case e != nil:
			mismatched |= 1 << i
		case s.mayHold != nil:
			absent |= 1 << i // to be asked once there is an id that needs no allocation
		default:
			return Verdict[any]{}, false
		}
	}
	return Verdict[any]{}, false
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

func (g *Group) authenticateToken(ctx context.Context, stores []*store, token Token) (Verdict[any], error) {
	if token.secret.Len() < minSecret {
		return Verdict[any]{}, errShortSecret
	}
	if g.known != nil && !g.known(token.id.Account) {
		return Verdict[any]{}, errUnknownAccount
	}
	qualified := []byte(token.id.String())
	q := query{hash: g.hash(qualified), qualified: qualified, digest: g.digest([]byte(token.secret.Reveal()))}
	for _, s := range stores {
		a, err := s.authenticate(ctx, token, &q)
		if err != nil {
			return Verdict[any]{}, err
		}
		if a.ok {
			return Verdict[any]{token.id, s.name, a.record}, nil
		}
	}
	return Verdict[any]{}, fmt.Errorf("%w: %s", ErrRefused, token.id)
}
