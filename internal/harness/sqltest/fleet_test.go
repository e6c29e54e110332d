package sqltest

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
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

var measure = flag.Bool("measure", false, "print the figures of docs/fleet-proof.md")

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

// hosts returns a node for each database; all of them lead to one log.
func hosts(t testing.TB, lease time.Duration, databases ...database) (all []*host) {
	for i, d := range databases {
		all = append(all, d.host(t, i, lease))
	}
	return all
}

var account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

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
		s, err := pgserver.Start() // with fsync
		pgserver.Need(t, err)
		t.Cleanup(func() { s.Close() })
		d = newSchema(t, s)
	}
	d.poll = 0 // the default
	all := hosts(t, 15*time.Second, slices.Repeat([]database{d}, n)...)
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

// TestIdle prints what nodes ask of PostgreSQL while nothing happens, for docs/sql-evidence.md:
//
//	go -C internal/harness test ./sqltest -run TestIdle -measure -v
func TestIdle(t *testing.T) {
	if !*measure {
		t.Skip("it runs with -measure")
	}
	for _, listens := range []bool{false, true} {
		for _, n := range []int{3, 10} {
			t.Run(fmt.Sprintf("listens %t, %d nodes", listens, n), func(t *testing.T) { measureIdle(t, n, listens) })
		}
	}
}

func measureIdle(t *testing.T, n int, listens bool) {
	s, err := pgserver.Start()
	pgserver.Need(t, err)
	defer s.Close()
	d := newSchema(t, s)
	d.poll = 0
	for _, h := range hosts(t, 15*time.Second, slices.Repeat([]database{d}, n)...) {
		if listens {
			listen(t, d, h.Log)
		}
	}
	db := d.open(t, nil)
	count := func() (commits int) {
		if err := db.QueryRowContext(t.Context(), "SELECT xact_commit FROM pg_stat_database WHERE datname = 'postgres'").Scan(&commits); err != nil {
			t.Fatal(err)
		}
		return commits
	}
	const settles, lasts = 20 * time.Second, 60 * time.Second // sessions report their counts with a delay of up to 10 s
	<-time.After(settles)
	before, began := count(), time.Now()
	<-time.After(lasts)
	t.Logf("%.1f transactions a second", float64(count()-before)/time.Since(began).Seconds())
}

// listen makes a log hear of messages at once.
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
