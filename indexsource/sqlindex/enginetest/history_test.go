package enginetest

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
)

var histories = flag.Int("histories", 15, "how many histories TestHistories runs")

// Cheap hashes: what is tested here is not hashing.
const (
	hashOfSupersecret = "{SSHA256}AAECAwQFBgc=wWZbSSQlbfWMkwfCRhqHNxCEGLEUTKc/nNCOWZOfNzc="
	hashOfAnother     = "{SSHA256}AAECAwQFBgc=AAZbSSQlbfWMkwfCRhqHNxCEGLEUTKc/nNCOWZOfNzc="
)

// A tracked token is created, confirmed for a while, revoked once, and asked for on all
// nodes all the time. Times are monotonic, of this process.
type tracked struct {
	token    tokencache.Token
	by       int        // the node that revoked it through its Index, or -1
	mu       sync.Mutex // guards the fields below
	revoking time.Time  // when the revocation was sent
	revoked  time.Time  // when it was acknowledged
}

func (k *tracked) times() (revoking, revoked time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.revoking, k.revoked
}

// TestHistories: three nodes, one PostgreSQL, tokens that are revoked by the library or
// by SQL behind its back, and authentications all the time. In every history:
//
//   - no authentication is confirmed that starts after a poll of its node has succeeded
//     which began after the revocation was acknowledged;
//   - none that starts on the revoking node after its Index reported the revocation;
//   - none is refused that ends before the revocation was sent.
func TestHistories(t *testing.T) {
	d := postgres(t)
	d.migrate(t)
	const poll = 20 * time.Millisecond
	var nodes []*node
	for range 3 {
		nodes = append(nodes, d.node(t, sqlindex.Config{Poll: poll}))
	}
	var asked, latest atomic.Int64
	for h := range *histories {
		h := history{t: t, d: d, nodes: nodes, asked: &asked, latest: &latest, number: h}
		h.run()
		if t.Failed() {
			return
		}
	}
	t.Logf("%d histories, %d authentications; the last one confirmed began %v after its revocation was acknowledged; polls every %v",
		*histories, asked.Load(), time.Duration(latest.Load()).Round(time.Millisecond), poll)
}

type history struct {
	t             *testing.T
	d             database
	nodes         []*node
	number        int
	tokens        []*tracked
	asked, latest *atomic.Int64
}

func (h *history) run() {
	rng := rand.New(rand.NewPCG(uint64(h.number), 1))
	hash, err := indexsource.ParseHash(hashOfSupersecret)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := range 6 {
		id := fleet.TokenID(fmt.Sprintf("h%d-%d", h.number, i))
		token, err := tokencache.NewToken(id, tokencache.NewSecret("supersecret"))
		if err != nil {
			h.t.Fatal(err)
		}
		if err := h.nodes[0].index.Put(h.t.Context(), indexsource.Document{Token: id, Enabled: true, Hash: hash}); err != nil {
			h.t.Fatal(err)
		}
		h.tokens = append(h.tokens, &tracked{token: token, by: rng.IntN(6) - 3})
	}
	for _, n := range h.nodes {
		n.poll(h.t) // a refusal could be remembered from before the creation
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for i := range h.nodes {
		for range 2 {
			readers.Go(func() { h.read(i, done) })
		}
	}
	for _, k := range h.tokens {
		h.revoke(k, rng.IntN(3))
	}
	for _, n := range h.nodes {
		n.poll(h.t)
	}
	for i := range h.nodes {
		for _, k := range h.tokens {
			h.ask(i, k)
		}
	}
	close(done)
	readers.Wait()
}

// read asks for all tokens, again and again, at a pace which leaves the processor to
// others.
func (h *history) read(i int, done chan struct{}) {
	pace := time.NewTicker(500 * time.Microsecond)
	defer pace.Stop()
	for {
		for _, k := range h.tokens {
			h.ask(i, k)
		}
		select {
		case <-done:
			return
		case <-pace.C:
		}
	}
}

// ask authenticates once, and checks the outcome.
func (h *history) ask(i int, k *tracked) {
	n := h.nodes[i]
	_, known := k.times()
	polled := n.index.Status().Polled
	begin := time.Now()
	got := n.ask(context.Background(), k.token)
	end := time.Now()
	revoking, revoked := k.times()
	h.asked.Add(1)
	switch {
	case got == "confirmed" && !known.IsZero() && polled.After(known):
		h.t.Errorf("history %d: node %d confirms %v %v after its revocation, and after a poll that began after it", h.number, i, k.token, begin.Sub(known))
	case got == "confirmed" && !known.IsZero() && k.by == i:
		h.t.Errorf("history %d: node %d confirms %v, which it has revoked itself", h.number, i, k.token)
	case got == "confirmed" && !revoked.IsZero() && begin.After(revoked):
		h.late(begin.Sub(revoked))
	case got != "confirmed" && (revoking.IsZero() || end.Before(revoking)):
		h.t.Errorf("history %d: node %d: %v: %s before its revocation", h.number, i, k.token, got)
	case got != "confirmed" && got != "refused":
		h.t.Errorf("history %d: node %d: %v: %s", h.number, i, k.token, got)
	}
}

func (h *history) late(d time.Duration) {
	for {
		old := h.latest.Load()
		if int64(d) <= old || h.latest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// revoke revokes a token, by the library or by SQL.
func (h *history) revoke(k *tracked, how int) {
	ctx, id := h.t.Context(), k.token.ID()
	k.mu.Lock()
	k.revoking = time.Now()
	k.mu.Unlock()
	var err error
	if k.by >= 0 {
		ix := h.nodes[k.by].index
		switch how {
		case 0:
			_, err = ix.SetEnabled(ctx, id, false)
		case 1:
			_, err = ix.Delete(ctx, id)
		default:
			_, _, err = ix.Rotate(ctx, id)
		}
	} else {
		statement := []string{
			"UPDATE svctoken_tokens SET enabled = FALSE WHERE name = $1",
			"DELETE FROM svctoken_tokens WHERE name = $1",
			"UPDATE svctoken_tokens SET hash = '" + hashOfAnother + "' WHERE name = $1",
		}[how]
		_, err = h.nodes[-k.by-1].db.ExecContext(ctx, statement, id.Name)
	}
	if err != nil {
		h.t.Error(err)
	}
	k.mu.Lock()
	k.revoked = time.Now()
	k.mu.Unlock()
}
