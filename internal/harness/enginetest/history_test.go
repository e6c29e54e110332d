package enginetest

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

var histories = flag.Int("histories", 15, "how many histories TestHistories runs")

// Cheap hashes: what is tested here is not hashing.
const (
	hashOfSupersecret = "{SSHA256}AAECAwQFBgc=wWZbSSQlbfWMkwfCRhqHNxCEGLEUTKc/nNCOWZOfNzc="
	hashOfAnother     = "{SSHA256}AAECAwQFBgc=AAZbSSQlbfWMkwfCRhqHNxCEGLEUTKc/nNCOWZOfNzc="
)

// A tracked token is created, confirmed for a while, and revoked once, while all nodes
// are asked about it all the time. Times are from this process's monotonic clock.
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

const historyPoll = 20 * time.Millisecond

// TestHistories: three nodes, one PostgreSQL, tokens that are revoked by the library or
// by SQL behind its back, and authentications all the time. In every history:
//
//   - none is confirmed that starts after a poll of its node has ended which began after
//     the revocation was acknowledged: the polls' times are those of this run, so a
//     machine that stands still fails nobody;
//   - none that starts on the revoking node after its Index reported the revocation;
//   - none is refused that ends before the revocation was sent.
//
// From the end of one poll to the beginning of the next no more than Config.Poll passes,
// which sqlindex's TestPollInterval shows on a clock of its own. Together: no node
// confirms a token for longer than the rest of a poll, Config.Poll, and one more poll.
func TestHistories(t *testing.T) {
	d := postgres(t)
	d.migrate(t)
	h := history{t: t, d: d}
	for range 3 {
		n := d.node(t, sqlindex.Config{Poll: historyPoll})
		h.nodes = append(h.nodes, n)
		h.polls = append(h.polls, &polls{index: n.index})
	}
	for h.number = range *histories {
		h.run()
		if t.Failed() {
			return
		}
	}
	var gaps []time.Duration
	for _, p := range h.polls {
		gaps = append(gaps, p.gaps()...)
	}
	slices.Sort(gaps)
	t.Logf("%d histories, %d authentications, %d of them confirmed after their revocation was acknowledged, the last %v after; polls every %v, which were %v apart in the median and %v at most, and took %v at most",
		*histories, h.asked.Load(), h.late, h.latest.Round(time.Millisecond), historyPoll, gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)-1].Round(time.Millisecond), h.longestPoll().Round(time.Millisecond))
}

// A polls has the polls of one node, as its status has shown them.
type polls struct {
	index *sqlindex.Index
	mu    sync.Mutex // guards the field below
	seen  []poll     // in their order
}

type poll struct{ began, ended time.Time }

// look records the last poll, and returns when it began.
func (p *polls) look() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.index.Status()
	if len(p.seen) == 0 || s.Polled.After(p.seen[len(p.seen)-1].began) {
		p.seen = append(p.seen, poll{s.Polled, s.Polled.Add(s.Duration)})
	}
	return s.Polled
}

// after waits for a poll that begins after a time, and returns the first that is known.
func (p *polls) after(t testing.TB, at time.Time) poll {
	for began := time.Now(); !p.look().After(at); time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("the node does not poll: %+v", p.index.Status())
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen[slices.IndexFunc(p.seen, func(poll poll) bool { return poll.began.After(at) })]
}

func (p *polls) gaps() (gaps []time.Duration) {
	for i := range len(p.seen) - 1 {
		gaps = append(gaps, p.seen[i+1].began.Sub(p.seen[i].ended))
	}
	return gaps
}

func (h *history) longestPoll() (longest time.Duration) {
	for _, p := range h.polls {
		for _, poll := range p.seen {
			longest = max(longest, poll.ended.Sub(poll.began))
		}
	}
	return longest
}

// A history runs again and again, with the same nodes and other tokens.
type history struct {
	t      *testing.T
	d      database
	nodes  []*node
	polls  []*polls // of each node
	number int
	tokens []*tracked
	asked  atomic.Int64

	mu        sync.Mutex // guards the field below
	confirmed []confirmation

	late   int           // confirmations that began after the revocation was acknowledged
	latest time.Duration // how long after
}

// A confirmation is a node's confirmation that began after the revocation was
// acknowledged.
type confirmation struct {
	node  int
	token *tracked
	began time.Time
}

func (h *history) run() {
	rng := rand.New(rand.NewPCG(uint64(h.number), 1))
	hash, err := tokenhash.Parse(hashOfSupersecret)
	if err != nil {
		h.t.Fatal(err)
	}
	h.tokens, h.confirmed = nil, nil
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
	revoked := time.Now()
	for _, p := range h.polls {
		p.after(h.t, revoked)
	}
	for i := range h.nodes {
		for _, k := range h.tokens {
			h.ask(i, k)
		}
	}
	close(done)
	readers.Wait()
	h.check()
}

// check looks for confirmations that are too late.
func (h *history) check() {
	for _, c := range h.confirmed {
		_, revoked := c.token.times()
		h.late++
		h.latest = max(h.latest, c.began.Sub(revoked))
		if poll := h.polls[c.node].after(h.t, revoked); c.began.After(poll.ended) {
			h.t.Errorf("history %d: node %d confirms %v %v after its revocation, and %v after the end of a poll that began after it",
				h.number, c.node, c.token.token, c.began.Sub(revoked), c.began.Sub(poll.ended))
		}
	}
}

// read asks about all tokens, again and again, at a pace that leaves the processor to
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
	h.polls[i].look()
	_, known := k.times()
	begin := time.Now()
	got := h.nodes[i].ask(context.Background(), k.token)
	end := time.Now()
	revoking, revoked := k.times()
	h.asked.Add(1)
	switch {
	case got == "confirmed" && !known.IsZero() && k.by == i:
		h.t.Errorf("history %d: node %d confirms %v, which it has revoked itself", h.number, i, k.token)
	case got == "confirmed" && !revoked.IsZero() && begin.After(revoked):
		h.mu.Lock()
		h.confirmed = append(h.confirmed, confirmation{i, k, begin})
		h.mu.Unlock()
	case got != "confirmed" && (revoking.IsZero() || end.Before(revoking)):
		h.t.Errorf("history %d: node %d: %v: %s before its revocation", h.number, i, k.token, got)
	case got != "confirmed" && got != "refused":
		h.t.Errorf("history %d: node %d: %v: %s", h.number, i, k.token, got)
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
			err = ix.SetEnabled(ctx, id, false)
		case 1:
			err = ix.Delete(ctx, id)
		default:
			_, err = ix.Rotate(ctx, id, 0, "me")
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
