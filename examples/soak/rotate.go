package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// A rotation gives one token a new secret, again and again, and removes it now and
// then, while others use the new and the old ones. The generations of its secrets are
// counted from 1.
type rotation struct {
	index *indexsource.Memory
	id    tokencache.TokenID

	secrets sync.Map     // by generation
	made    atomic.Int64 // the last generation whose creation has returned
	ending  atomic.Int64 // the last whose revocation has begun
	ended   atomic.Int64 // the last whose revocation has returned
}

func (r *rotation) rotate(ctx context.Context) {
	each(ctx, 50*time.Millisecond, func(i int) {
		gen := r.made.Load()
		secret := tokencache.GenerateSecret()
		next := document(r.id, tokenhash.Stretched(secret))
		r.ending.Store(gen)
		if i%3 == 0 {
			r.index.Delete(ctx, r.id)
			r.ended.Store(gen)
		}
		r.secrets.Store(gen+1, secret)
		if r.index.Put(ctx, next) != nil {
			panic("the document is valid")
		}
		r.ended.Store(gen)
		r.made.Store(gen + 1)
		r.secrets.Delete(gen - 4)
	})
}

// use sends one of the last secrets. A secret whose revocation had returned before it was
// sent must not be confirmed. A secret that had been made before it was sent, and whose
// revocation had not begun when the answer came, must not be refused.
func (r *rotation) use(ctx context.Context, w *world) {
	each(ctx, 5*time.Millisecond, func(int) {
		ended, made := r.ended.Load(), r.made.Load()
		gen := made - rand.Int64N(3)
		secret, ok := r.secrets.Load(gen)
		if !ok {
			return
		}
		err := w.authenticate(ctx, r.id, secret.(tokencache.Secret), changing)
		switch {
		case err == nil && gen <= ended:
			w.tally.wrong.Add(1)
		case errors.Is(err, tokencache.ErrRefused) && gen > r.ending.Load():
			w.tally.wrong.Add(1)
		}
	})
}
