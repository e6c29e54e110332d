// Command measure measures package sqlindex on SQLite and on a PostgreSQL that it starts,
// and prints a table for docs/sql-evidence.md.
//
//	go -C internal/harness/enginetest run ./measure -documents 1000000
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/indexsource/sqlindex/pglisten"
	"github.com/svctoken/svctoken/internal/harness/pgserver"
	"github.com/svctoken/svctoken/tokencache"
)

var (
	documents = flag.Int("documents", 1_000_000, "how many documents the index has")
	changes   = flag.Int("changes", 100, "how many changes to measure; ten times as many where nodes listen")
	engines   = flag.String("engines", "SQLite PostgreSQL", "which engines to measure")
	reads     = flag.Int("reads", 5000, "how many reads to measure")
	match     = flag.String("match", "", "measure only what this regular expression matches")
)

var account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

var wanted *regexp.Regexp

func main() {
	flag.Parse()
	wanted = regexp.MustCompile(*match)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "sqlindex")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	lite := engine{name: "SQLite", kind: sqlindex.SQLite, open: func() *sql.DB {
		db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, "index.db")+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
		if err != nil {
			log.Fatal(err)
		}
		return db
	}}
	if strings.Contains(*engines, lite.name) {
		if err := lite.measure(ctx); err != nil {
			return err
		}
	}
	if !strings.Contains(*engines, "PostgreSQL") {
		return nil
	}
	s, err := pgserver.Start()
	if err != nil {
		return err
	}
	defer s.Close()
	cfg, err := pgx.ParseConfig(s.URL("postgres"))
	if err != nil {
		return err
	}
	postgres := engine{name: "PostgreSQL", kind: sqlindex.PostgreSQL, listen: cfg, open: func() *sql.DB {
		db := stdlib.OpenDB(*cfg)
		db.SetMaxIdleConns(2)
		return db
	}}
	if err := postgres.measure(ctx); err != nil {
		return err
	}
	return postgres.fleet(ctx)
}

// An engine is a database to measure.
type engine struct {
	name   string
	kind   sqlindex.Dialect
	listen *pgx.ConnConfig // of PostgreSQL
	open   func() *sql.DB
}

func (e engine) index(cfg sqlindex.Config) (*sql.DB, *sqlindex.Index) {
	db := e.open()
	ix, err := sqlindex.New(db, e.kind, cfg)
	if err != nil {
		log.Fatal(err)
	}
	return db, ix
}

func (e engine) measure(ctx context.Context) error {
	db, ix := e.index(sqlindex.Config{Poll: -1})
	defer db.Close()
	defer ix.Close()
	if err := ix.Migrate(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := fill(ctx, db); err != nil {
		return err
	}
	fmt.Printf("%s: %d documents inserted by one statement in %v\n", e.name, *documents, time.Since(began).Round(time.Millisecond))
	if err := ix.Poll(ctx); err != nil {
		return err
	}
	err := e.quantiles("get", *reads, func(int) error {
		_, ok, err := ix.Get(ctx, account.TokenID(fmt.Sprint("token", 1+rand.N(*documents))))
		if err == nil && !ok {
			err = fmt.Errorf("no document")
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := e.quantiles("get of an absent token", *reads, func(i int) error {
		_, _, err := ix.Get(ctx, account.TokenID(fmt.Sprint("absent", i)))
		return err
	}); err != nil {
		return err
	}
	if err := e.quantiles("poll that finds nothing", *reads, func(int) error { return ix.Poll(ctx) }); err != nil {
		return err
	}
	if err := e.quantiles("disable or enable", *changes, func(i int) error {
		err := ix.SetEnabled(ctx, account.TokenID("token1"), i%2 == 0)
		return err
	}); err != nil {
		return err
	}
	if err := e.hostsColumn(ctx, db); err != nil {
		return err
	}
	for _, nodes := range []int{1, 10} {
		if err := e.eviction(ctx, nodes, time.Second, false); err != nil {
			return err
		}
		if e.listen != nil {
			if err := e.eviction(ctx, nodes, time.Second, true); err != nil {
				return err
			}
		} else if err := e.eviction(ctx, nodes, 20*time.Millisecond, false); err != nil {
			return err
		}
	}
	return nil
}

// fill inserts the documents.
func fill(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, fmt.Sprintf(`INSERT INTO svctoken_tokens (namespace, service, name, creator, hash)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
SELECT 'elastic', 'fleet-server', 'token' || i, 'measure', '{SSHA256}AAECAwQFBgc=wWZbSSQlbfWMkwfCRhqHNxCEGLEUTKc/nNCOWZOfNzc=' FROM n`, *documents))
	return err
}

// quantiles prints how long something takes.
func (e engine) quantiles(what string, n int, do func(int) error) error {
	if !wanted.MatchString(what) {
		return nil
	}
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		if err := do(i); err != nil {
			return fmt.Errorf("%s: %s: %w", e.name, what, err)
		}
		took[i] = time.Since(began)
	}
	e.print(what, took)
	return nil
}

func (e engine) print(what string, took []time.Duration) {
	slices.Sort(took)
	fmt.Printf("%s: %s: p50 %v, p99 %v (%d samples, load %s)\n", e.name, what, took[len(took)/2].Round(time.Microsecond), took[len(took)*99/100].Round(time.Microsecond), len(took), load())
}

// eviction measures from the commit of a change by SQL to its eviction on all nodes.
func (e engine) eviction(ctx context.Context, nodes int, poll time.Duration, listen bool) error {
	how := fmt.Sprintf("commit to eviction on %d node(s), polling every %v", nodes, poll)
	if listen {
		how += " and listening"
	}
	if !wanted.MatchString(how) {
		return nil
	}
	var indexes []*sqlindex.Index
	var told []chan struct{} // of each node, since it may evict more than once
	for range nodes {
		db, ix := e.index(sqlindex.Config{Poll: poll})
		defer db.Close()
		defer ix.Close()
		if err := ix.Poll(ctx); err != nil {
			return err
		}
		evicted := make(chan struct{}, 1)
		defer indexsource.New(ix).Subscribe(invalidator(func() {
			select {
			case evicted <- struct{}{}:
			default:
			}
		}))()
		indexes, told = append(indexes, ix), append(told, evicted)
		if err := ix.Poll(ctx); err != nil {
			return err
		}
		if listen {
			l := pglisten.Listen(e.listen, ix.Notified, pglisten.Config{})
			defer l.Close()
			for !l.Connected() {
				runtime.Gosched()
			}
		}
	}
	db := e.open()
	defer db.Close()
	n := *changes
	if listen {
		n *= 10 // each takes milliseconds
	}
	took := make([]time.Duration, n)
	for i := range took {
		if err := caughtUp(ctx, db, indexes); err != nil {
			return err
		}
		if !listen {
			time.Sleep(rand.N(poll)) // at any point of the interval
		}
		for _, evicted := range told {
			select {
			case <-evicted:
			default:
			}
		}
		if _, err := db.ExecContext(ctx, "UPDATE svctoken_tokens SET enabled = NOT enabled WHERE namespace = 'elastic' AND service = 'fleet-server' AND name = 'token1'"); err != nil {
			return err
		}
		began := time.Now()
		for _, evicted := range told {
			<-evicted
		}
		took[i] = time.Since(began)
	}
	e.print(how, took)
	return nil
}

// caughtUp waits until every index has polled what is in the database.
func caughtUp(ctx context.Context, db *sql.DB, indexes []*sqlindex.Index) error {
	var rev int64
	if err := db.QueryRowContext(ctx, "SELECT rev FROM svctoken_meta").Scan(&rev); err != nil {
		return err
	}
	for _, ix := range indexes {
		for ix.Status().Rev < rev {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// load returns the machine's load average of the last minute, if the system has one.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	average, _, _ := strings.Cut(string(text), " ")
	return average
}

type invalidator func()

func (f invalidator) Evict(context.Context, tokencache.Cause, ...tokencache.Selector) int {
	f()
	return 0
}
func (f invalidator) Clear(context.Context, tokencache.Cause) int { return 0 }

// fleet measures the database's load by a hundred nodes, and their memory.
func (e engine) fleet(ctx context.Context) error {
	const nodes, seconds = 100, 40
	if !wanted.MatchString("a hundred nodes") {
		return nil
	}
	before := heap()
	for range nodes {
		db, ix := e.index(sqlindex.Config{})
		defer db.Close()
		defer ix.Close()
		defer indexsource.New(ix).Subscribe(invalidator(func() {}))()
		if err := ix.Poll(ctx); err != nil {
			return err
		}
		l := pglisten.Listen(e.listen, ix.Notified, pglisten.Config{})
		defer l.Close()
		for !l.Connected() {
			runtime.Gosched()
		}
	}
	fmt.Printf("%s: memory of a node, with two connections: %d KiB\n", e.name, (heap()-before)/nodes/1024)
	db := e.open()
	defer db.Close()
	time.Sleep(15 * time.Second) // sessions report their counts with a delay of up to 10 s
	for _, changes := range []int{0, 5} {
		before, err := e.used(ctx, db)
		if err != nil {
			return err
		}
		for range seconds {
			for range changes {
				if _, err := db.ExecContext(ctx, "UPDATE svctoken_tokens SET enabled = NOT enabled WHERE namespace = 'elastic' AND service = 'fleet-server' AND name = 'token1'"); err != nil {
					return err
				}
				time.Sleep(time.Second / time.Duration(changes))
			}
			if changes == 0 {
				time.Sleep(time.Second)
			}
		}
		after, err := e.used(ctx, db)
		if err != nil {
			return err
		}
		took := after.at.Sub(before.at).Seconds()
		fmt.Printf("%s: %d nodes that listen, about %d changes a second: %.0f transactions a second, in which the server was active for %.2f %% of the time (load %s)\n",
			e.name, nodes, changes, float64(after.commits-before.commits)/took, (after.active-before.active)/10/took, load())
	}
	return nil
}

// A use has the database's own counts.
type use struct {
	at      time.Time
	commits int
	active  float64 // milliseconds, of all sessions
}

func (e engine) used(ctx context.Context, db *sql.DB) (u use, err error) {
	u.at = time.Now()
	err = db.QueryRowContext(ctx, "SELECT xact_commit, active_time FROM pg_stat_database WHERE datname = 'postgres'").Scan(&u.commits, &u.active)
	return u, err
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
