package sqltest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleetsql"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex/pglisten"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
	"github.com/svctoken/svctoken/tokencache"
)

var (
	faultsFor = flag.Duration("for", 10*time.Second, "how long TestFaults breaks the database")
	measure   = flag.Bool("measure", false, "print the figures of docs/fleet-proof.md")
)

// A host is a node with a group of caches.
type host struct {
	*node
	member *fleet.Node
	group  *tokencache.Group
}

func (d database) host(t testing.TB, i int, lease time.Duration) *host {
	t.Helper()
	h := &host{node: d.connect(t), group: tokencache.NewGroup(tokencache.GroupConfig{})}
	t.Cleanup(h.group.Close)
	var err error
	if h.member, err = fleet.New(h.Log, h.group, fleet.Config{Lease: lease, Name: fmt.Sprintf("node%d", i)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.member.Close)
	if _, err := tokencache.New(h.group, "index", indexsource.New(h.member.Index()), tokencache.Config{}); err != nil {
		t.Fatal(err)
	}
	h.wait(t)
	return h
}

func (h *host) wait(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := h.member.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

func hosts(t testing.TB, d database, n int, lease time.Duration) (all []*host) {
	for i := range n {
		all = append(all, d.host(t, i, lease))
	}
	return all
}

var account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

// A watch asks all nodes about one token all the time, and knows when its deletion had
// returned.
type watch struct {
	token     tokencache.Token
	revoked   atomic.Pointer[time.Time]
	confirmed atomic.Int64 // verdicts
	wrong     atomic.Int64 // of those, that were asked for after the deletion had returned
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

// until waits for n more of what is counted.
func (w *watch) until(ctx context.Context, counted *atomic.Int64, n int64) {
	for least := counted.Load() + n; counted.Load() < least; {
		select {
		case <-w.verdict:
		case <-ctx.Done():
			return
		}
	}
}

// TestFaults: no node confirms a token after its deletion has returned, on SQLite and on
// PostgreSQL, while nodes are cut off from the database, and the server is killed and
// started again. Afterwards all serve, and evictions end. With -for it runs for longer.
func TestFaults(t *testing.T) {
	t.Parallel()
	t.Run("SQLite", func(t *testing.T) {
		t.Parallel()
		faults(t, sqlite(t), nil)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		s, err := pgserver.Start()
		pgserver.Need(t, err)
		defer s.Close()
		faults(t, newSchema(t, s), s)
	})
}

func faults(t *testing.T, d database, s *pgserver.Server) {
	const lease = time.Second
	all := hosts(t, d, 3, lease)
	var revocations int
	var verdicts int64
	for end := time.Now().Add(*faultsFor / 2); time.Now().Before(end); {
		revocations++
		verdicts += revokeOnce(t, all, func() {
			switch {
			case s == nil || rand.N(4) == 0:
			case rand.N(6) == 0:
				restart(t, s)
			default:
				h := all[rand.N(len(all))]
				h.gate.cut()
				time.AfterFunc(rand.N(2*lease), h.gate.heal)
			}
		})
	}
	t.Logf("%d revocations, %d verdicts", revocations, verdicts)
	for _, h := range all {
		h.wait(t)
		report, err := h.member.Evict(t.Context(), account.Namespace, account.Service, "*")
		if err != nil || len(report.Nodes) != len(all)-1 {
			t.Errorf("an eviction at the end: %+v, %v", report, err)
		}
	}
}

// revokeOnce creates a token on one node, deletes it on another in the midst of what
// happens, and asks all nodes all the while. It returns how many verdicts they gave.
func revokeOnce(t *testing.T, all []*host, happens func()) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	token := create(ctx, t, all)
	asking, stop := context.WithCancel(ctx)
	w := newWatch(asking, token, all)
	w.until(ctx, &w.confirmed, 10)
	go happens()
	revoke(ctx, t, all, token.ID())
	now := time.Now()
	w.revoked.Store(&now)
	w.until(ctx, &w.refused, 30)
	stop()
	w.asking.Wait()
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
		attempt, end := context.WithTimeout(ctx, 5*time.Second)
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

// revoke deletes a token on a node that can. Where an attempt has failed, the document may
// have gone without every node knowing; then an eviction tells them.
func revoke(ctx context.Context, t *testing.T, all []*host, id tokencache.TokenID) {
	t.Helper()
	for gone := false; ; {
		h := all[rand.N(len(all))]
		attempt, end := context.WithTimeout(ctx, 5*time.Second)
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

// TestMeasure prints figures of docs/fleet-proof.md:
//
//	go -C internal/harness/sqltest test . -run TestMeasure -measure -v
func TestMeasure(t *testing.T) {
	if !*measure {
		t.Skip("it runs with -measure")
	}
	for _, kind := range []string{"SQLite, polls", "PostgreSQL, polls", "PostgreSQL, listens"} {
		for _, n := range []int{3, 10} {
			t.Run(fmt.Sprintf("%s, %d nodes", kind, n), func(t *testing.T) { measureNodes(t, kind, n) })
		}
	}
}

func measureNodes(t *testing.T, kind string, n int) {
	var d database
	if strings.HasPrefix(kind, "SQLite") {
		d = sqlite(t)
	} else {
		s, err := pgserver.Start() // which syncs
		pgserver.Need(t, err)
		t.Cleanup(func() { s.Close() })
		d = newSchema(t, s)
	}
	d.poll = 0 // the default
	all := hosts(t, d, n, 15*time.Second)
	if strings.HasSuffix(kind, "listens") {
		for _, h := range all {
			listen(t, d, h.Log)
		}
	}
	entry := fleetlog.Entry{Key: "settled", ID: "settled", Value: []byte(all[0].member.Status().Log)}
	if _, err := all[0].Append(t.Context(), entry); err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for range 200 {
		began := time.Now()
		if _, err := all[0].member.Evict(t.Context(), account.Namespace, account.Service, "token1"); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	began := time.Now()
	const workers, each = 16, 40
	var busy sync.WaitGroup
	for range workers {
		busy.Go(func() {
			for range each {
				if _, err := all[0].member.Evict(t.Context(), account.Namespace, account.Service, "token1"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	busy.Wait()
	t.Logf("an eviction takes p50 %v, p99 %v; %d at a time, %.0f a second", took[100].Round(10*time.Microsecond), took[198].Round(10*time.Microsecond),
		workers, workers*each/time.Since(began).Seconds())
}

// listen has a log hear of messages at once.
func listen(t testing.TB, d database, e *fleetsql.Log) {
	t.Helper()
	cfg, err := pgx.ParseConfig(d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	listens := make(chan struct{}, 1)
	l := pglisten.Listen(cfg, func(payload string) {
		select {
		case listens <- struct{}{}:
		default:
		}
		e.Notified(payload)
	}, pglisten.Config{})
	t.Cleanup(l.Close)
	<-listens
}
