package sqltest

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet/fleetsql"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
)

var (
	faultsFor   = flag.Duration("for", 5*time.Second, "how long TestFaults breaks the database")
	faultsLease = flag.Duration("lease", time.Second, "the lease of TestFaults; on a machine with much else to do, let it be longer")
)

// TestFaults: no node confirms a token after its deletion has returned, on SQLite and on
// PostgreSQL, whatever happens to the database and to the nodes' connections. Afterwards all
// serve, and evictions end. With -for it runs for longer.
//
// On PostgreSQL each node has another driver, one of them over PgBouncer, and a standby has
// every commit before it is acknowledged.
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"ncruces", "modernc"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			d := sqlite(t).with(driver)
			b := &broken{d: d, all: hosts(t, *faultsLease, d, d, d)}
			b.run(t, []fault{{"nothing", nothing}, {"a transaction holds the log", holdLog}})
		})
	}
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		b := newBroken(t)
		b.run(t, []fault{
			{"nothing", nothing},
			{"a node is cut off", func(t *testing.T, b *broken) { b.cut(true, true) }},
			{"what a node asks is lost", func(t *testing.T, b *broken) { b.cut(true, false) }},
			{"what a node is answered is lost", func(t *testing.T, b *broken) { b.cut(false, true) }},
			{"all nodes are cut off", cutAll},
			{"a transaction holds the log", holdLog},
			{"every session is ended", endSessions},
			{"the server is killed", func(t *testing.T, b *broken) { restart(t, b.server) }},
			{"the standby is killed", stopStandby},
		})
	})
}

// A broken is a fleet whose database the test breaks.
type broken struct {
	d       database
	server  *pgserver.Server // of PostgreSQL
	standby *pgserver.Server
	all     []*host
}

// A fault happens while a token is revoked. It is over soon after the function has
// returned.
type fault struct {
	name string
	do   func(*testing.T, *broken)
}

// newBroken starts a PostgreSQL with a synchronous standby, and a node with each driver.
func newBroken(t *testing.T) *broken {
	t.Helper()
	s, err := pgserver.Start("wal_keep_size = 1GB") // a standby that was away needs it
	pgserver.Need(t, err)
	t.Cleanup(func() { s.Close() })
	standby, err := s.Replica("wal_retrieve_retry_interval = 100ms")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { standby.Close() })
	d := database{dialect: fleetsql.PostgreSQL, driver: "pgx", dsn: s.URL("postgres"), poll: 20 * time.Millisecond}
	setStandby(t, &node{db: d.open(t, nil)}, "*")
	pooled := d.with("pgx")
	pooled.dsn = s.Bounce(t) + " dbname=postgres " + bounced["pgx"]
	return &broken{d, s, standby, hosts(t, *faultsLease, d.with("pgx"), d.with(cancels), d.with("lib_pq"), pooled)}
}

// run revokes tokens while faults happen.
func (b *broken) run(t *testing.T, faults []fault) {
	t.Helper()
	kinds := map[string]int{}
	var verdicts int64
	last := ""
	defer func() {
		if t.Failed() {
			t.Logf("after %d verdicts and %v, the last fault was: %s", verdicts, kinds, last)
		}
	}()
	for end := time.Now().Add(*faultsFor); time.Now().Before(end) && !t.Failed(); {
		f := faults[rand.N(len(faults))]
		kinds[f.name]++
		last = f.name
		verdicts += revokeOnce(t, b.all, func() { f.do(t, b) })
	}
	for _, h := range b.all {
		h.wait(t)
		report, err := h.member.Evict(t.Context(), account.Namespace, account.Service, "*")
		if err != nil || len(report.Nodes) != len(b.all)-1 {
			t.Errorf("an eviction at the end: %+v, %v", report, err)
		}
	}
	var text strings.Builder
	names := slices.SortedFunc(maps.Keys(kinds), func(a, b string) int { return cmp.Or(kinds[b]-kinds[a], strings.Compare(a, b)) })
	for _, name := range names {
		fmt.Fprintf(&text, "; %s: %d", name, kinds[name])
	}
	t.Logf("%d verdicts while tokens were revoked%s", verdicts, &text)
}

func nothing(*testing.T, *broken) {}

// cut cuts off one node for a while.
func (b *broken) cut(out, in bool) {
	h := b.all[rand.N(len(b.all))]
	h.gate.cut(out, in)
	time.Sleep(rand.N(2 * *faultsLease))
	h.gate.heal()
}

func cutAll(_ *testing.T, b *broken) {
	for _, h := range b.all {
		h.gate.cut(true, true)
	}
	time.Sleep(rand.N(2 * *faultsLease))
	for _, h := range b.all {
		h.gate.heal()
	}
}

// holdLog writes to the log's row, and rolls back after a while.
func holdLog(t *testing.T, b *broken) {
	db := b.d.open(t, nil)
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	for _, statement := range []string{"BEGIN", "UPDATE svctoken_fleet_log SET rev = rev + 7", "", "ROLLBACK"} {
		if statement == "" {
			time.Sleep(rand.N(2 * *faultsLease))
		} else if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Error(err)
		}
	}
}

func endSessions(t *testing.T, b *broken) {
	db := b.d.open(t, nil)
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"); err != nil {
		t.Error(err)
	}
}

// stopStandby kills the standby, without which no append is acknowledged, and starts it
// again.
func stopStandby(t *testing.T, b *broken) {
	if err := b.standby.Crash(); err != nil {
		t.Error(err)
	}
	time.Sleep(rand.N(2 * *faultsLease))
	if err := b.standby.Restart(); err != nil {
		t.Error(err)
	}
}
