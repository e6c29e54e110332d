package sqltest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// A watch asks all nodes about one token all the time, and knows when the token's
// deletion has returned.
type watch struct {
	token     tokencache.Token
	revoked   atomic.Pointer[time.Time]
	confirmed atomic.Int64 // verdicts
	wrong     atomic.Int64 // confirmations that were asked for after the deletion had returned
	refused   atomic.Int64
	verdict   chan struct{} // holds one after a verdict
	asking    sync.WaitGroup
}

func newWatch(ctx context.Context, token tokencache.Token, hosts []*host) *watch {
	w := &watch{token: token, verdict: make(chan struct{}, 1)}
	for _, h := range hosts {
		w.asking.Go(func() {
			for ctx.Err() == nil {
				w.ask(ctx, h)
				select {
				case <-ctx.Done():
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
	return w
}

func (w *watch) ask(ctx context.Context, h *host) {
	revoked := w.revoked.Load()
	_, err := h.group.AuthenticateToken(ctx, w.token)
	switch {
	case err == nil:
		w.confirmed.Add(1)
		if revoked != nil {
			w.wrong.Add(1)
		}
	case errors.Is(err, tokencache.ErrRefused):
		w.refused.Add(1)
	}
	select {
	case w.verdict <- struct{}{}:
	default:
	}
}

// until waits until the counter has grown by n.
func (w *watch) until(ctx context.Context, counted *atomic.Int64, n int64) {
	for least := counted.Load() + n; counted.Load() < least; {
		select {
		case <-w.verdict:
		case <-ctx.Done():
			return
		}
	}
}

// revokeOnce creates a token on one node, deletes it on another during a fault, and asks
// all nodes all the while. It returns the number of their verdicts.
func revokeOnce(t *testing.T, all []*host, happens func()) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60**faultsLease)
	defer cancel()
	token := create(ctx, t, all)
	asking, stop := context.WithCancel(ctx)
	w := newWatch(asking, token, all)
	w.until(ctx, &w.confirmed, 10)
	happened := make(chan struct{})
	go func() {
		defer close(happened)
		happens()
	}()
	revoke(ctx, t, all, token.ID())
	now := time.Now()
	w.revoked.Store(&now)
	w.until(ctx, &w.refused, 30)
	stop()
	w.asking.Wait()
	<-happened
	if n := w.wrong.Load(); n > 0 {
		t.Errorf("%d verdicts confirmed a token after its deletion had returned", n)
	}
	if ctx.Err() != nil {
		t.Errorf("the nodes refuse nothing: %d confirmed, %d refused", w.confirmed.Load(), w.refused.Load())
	}
	return w.confirmed.Load() + w.refused.Load()
}

var created atomic.Int64

// create creates a token on a node that can.
func create(ctx context.Context, t *testing.T, all []*host) tokencache.Token {
	t.Helper()
	for {
		attempt, end := context.WithTimeout(ctx, 5**faultsLease)
		id := account.TokenID(fmt.Sprint("token", created.Add(1)))
		token, err := all[rand.N(len(all))].member.Index().Create(attempt, id, "test")
		end()
		if err == nil {
			return token
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// revoke deletes a token on a node that can. If an attempt has failed, the document may
// have gone without every node knowing; then an eviction tells them.
func revoke(ctx context.Context, t *testing.T, all []*host, id tokencache.TokenID) {
	t.Helper()
	for gone := false; ; {
		h := all[rand.N(len(all))]
		attempt, end := context.WithTimeout(ctx, 5**faultsLease)
		var err error
		if gone {
			_, err = h.member.Evict(attempt, account.Namespace, account.Service, id.Name)
		} else {
			err = h.member.Index().Delete(attempt, id)
		}
		end()
		if err == nil {
			return
		}
		gone = gone || errors.Is(err, tokencache.ErrNotFound)
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}
