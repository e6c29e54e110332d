package fleet_test

import (
	"context"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

var (
	histories = flag.Int("histories", 60, "how many histories to simulate; the long run has 100000")
	firstSeed = flag.Uint64("seed", 1, "the seed of the first history")
)

// TestHistories simulates a fleet of three nodes under faults, in fake time, and
// checks each history against the promise. A seed gives the same faults again:
//
//	go test ./fleet -run TestHistories -seed 123 -histories 1 -v
//
// In a bubble hardly anything runs side by side, and a second processor costs a
// third of the speed: for the long run, start one process for each.
func TestHistories(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var total counts
	for i := range *histories {
		seed := *firstSeed + uint64(i)
		var w *world
		synctest.Test(t, func(t *testing.T) {
			w = newWorld(t, seed)
			w.run()
		})
		for _, v := range w.problems() {
			t.Errorf("seed %d: %s", seed, v)
		}
		if t.Failed() {
			t.Fatalf("seed %d broke the promise; its faults:\n%s", seed, strings.Join(w.script, "\n"))
		}
		total.add(w)
	}
	t.Log(total)
	if *histories >= 20 && (total.hits == 0 || total.misses == 0 || total.returned == 0 || total.expired == 0) {
		t.Error("the histories do not exercise the promise")
	}
}

// counts sums up what happened in a run of histories.
type counts struct {
	histories, auths, hits, misses, refused, changes, returned, expired, sessions int
	faults                                                                        map[string]int
}

func (c *counts) add(w *world) {
	c.histories++
	c.auths += len(w.h.auths)
	for _, a := range w.h.auths {
		if a.hit {
			c.hits++
		} else {
			c.misses++
		}
	}
	c.refused += int(w.refused.Load())
	c.changes += len(w.h.changes)
	for _, ch := range w.h.changes {
		if ch.ret != 0 {
			c.returned++
		}
	}
	c.expired += int(w.expired.Load())
	c.sessions += int(w.sessions.Load())
	if c.faults == nil {
		c.faults = make(map[string]int)
	}
	for _, line := range w.script {
		c.faults[strings.Fields(line)[1]]++
	}
}

func (c counts) String() string {
	return fmt.Sprintf("%d histories: %d verdicts (%d hits, %d from loads), %d not answered, %d changes, of which %d returned and %d of these by time, %d sessions, faults %v",
		c.histories, c.auths, c.hits, c.misses, c.refused, c.changes, c.returned, c.expired, c.sessions, c.faults)
}

const (
	simLease = 15 * time.Second
	simTime  = 75 * time.Second
	nodes    = 3
)

var (
	account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	keys    = []string{"t0", "t1"}
	aHash   = tokenhash.New(tokencache.GenerateSecret())
)

// A world is one simulated fleet.
type world struct {
	t        *testing.T
	log      *fleettest.Log
	slots    [nodes]*slot
	begin    time.Time
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
	now      atomic.Int64 // the instant
	versions atomic.Int64
	refused  atomic.Int64
	expired  atomic.Int64
	sessions atomic.Int64
	stopping atomic.Bool
	rng      *rand.Rand // of the faults

	mu      sync.Mutex // guards the fields below
	h       history
	script  []string // the faults
	errs    []string
	dead    []*slot
	samples []sample
	lost    [][2]int64 // spans of instants that a rollback took away
}

// A sample is the log's position at a time.
type sample struct {
	at   time.Time
	tick int64
	last fleetlog.Position
}

// A slot runs one node: one process after the other.
type slot struct {
	w      *world
	number int
	conn   *fleettest.Conn
	clock  *simClock
	caches *simCaches
	source *indexsource.Source
	node   *fleet.Node

	mu          sync.Mutex // guards the fields below
	rng         *rand.Rand
	ids         int
	pausedUntil time.Time
	slow        time.Duration // the longest delay of a message
	behind      int           // how far reads may lag
	past        int           // whether reads come from a log that was replaced
	ack         time.Time     // when the last change was acknowledged
	serving     time.Time     // since when; zero: not
	disturbed   time.Time     // the last pause ended
	doubtUntil  int64         // verdicts that start before this instant are of a machine that has just woken up
}

// A simClock runs fast or slow, and stands still while the machine is suspended.
type simClock struct {
	begin  time.Time
	rate   float64
	asleep atomic.Int64
	back   atomic.Int64 // how much earlier than begin the clock says that it began
}

func (c *simClock) Now() time.Time {
	begin := c.begin.Add(-time.Duration(c.back.Load()))
	gone := time.Since(begin) - c.Suspended()
	return begin.Add(time.Duration(float64(gone) * c.rate))
}

func (c *simClock) Real(d time.Duration) time.Duration {
	return time.Duration(float64(d)/c.rate) + time.Microsecond // rounded up: a timer must not fire early
}

func (c *simClock) Suspended() time.Duration { return time.Duration(c.asleep.Load()) }

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, log: fleettest.NewLog(), begin: time.Now(), rng: rand.New(rand.NewPCG(seed, 0))}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	for i := range w.slots {
		w.slots[i] = w.boot(i, rand.New(rand.NewPCG(seed, uint64(i+1))))
	}
	return w
}

// boot starts a process in a slot.
func (w *world) boot(i int, rng *rand.Rand) *slot {
	s := &slot{w: w, number: i, rng: rng, slow: 20 * time.Millisecond}
	s.clock = &simClock{begin: w.begin, rate: 1 + (2*rng.Float64()-1)*0.00099}
	s.caches = newSimCaches(w, s)
	s.conn = w.log.Connect()
	s.conn.Delay = func(what string) time.Duration {
		if what == "break" {
			return 20 * s.delay()
		}
		return s.delay()
	}
	s.conn.Replica = s.replica
	s.conn.Repeat = func() bool { return s.roll(10) == 0 }
	s.conn.Copies = func() int { return s.roll(4) }
	cfg := fleet.Config{Lease: simLease, Name: "node" + strconv.Itoa(i), Observer: s.observe}
	cfg = cfg.WithTest(s.clock, s.newID, s.float).WithVersion(1 + i%2) // two versions of the code
	node, err := fleet.NewWith(simLog{s.conn, s}, s.caches, cfg)
	if err != nil {
		panic(err)
	}
	s.node = node
	s.source = indexsource.New(node.Index())
	s.source.Subscribe(indexCache{s.caches})
	return s
}

func (s *slot) float() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rng.Float64()
}

func (s *slot) roll(n int) int { return int(s.float() * float64(n)) }

func (s *slot) newID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids++
	return fmt.Sprintf("i%x%xn%d", s.number, s.rng.Uint64(), s.ids)
}

// delay returns a delay, which is seldom long, and often short.
func (s *slot) delay() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.rng.Float64()
	return time.Duration(f*f*f*float64(s.slow)) + time.Duration(1+s.rng.IntN(1000))*time.Microsecond
}

func (s *slot) replica() fleettest.Replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := fleettest.Replica{Past: s.past}
	if s.behind > 0 && s.rng.IntN(4) > 0 {
		r.Behind = fleetlog.Position(s.rng.IntN(s.behind))
	}
	return r
}

func (s *slot) observe(e fleet.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.Kind {
	case fleet.EventServing:
		s.w.sessions.Add(1)
		s.serving = time.Now()
	case fleet.EventStopped:
		s.serving = time.Time{}
	}
	if testing.Verbose() && *histories == 1 {
		fmt.Printf("%8.3f node %d: %v at %d, %v\n", time.Since(s.w.begin).Seconds(), s.number, e.Kind, e.Position, e.Err)
	}
}

// gate waits while the process is stopped.
func (s *slot) gate(ctx context.Context) {
	for {
		s.mu.Lock()
		left := time.Until(s.pausedUntil)
		s.mu.Unlock()
		if left <= 0 {
			return
		}
		time.Sleep(left)
	}
}

func (s *slot) sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// A simLog lets a stopped process neither send nor receive.
type simLog struct {
	*fleettest.Conn
	s *slot
}

func (e simLog) Append(ctx context.Context, entry fleetlog.Entry) (fleetlog.Position, error) {
	e.s.gate(ctx)
	pos, err := e.Conn.Append(ctx, entry)
	e.s.gate(ctx)
	if err == nil && !strings.HasPrefix(entry.Key, "node.") && entry.Key != "meta" && entry.Key != "settled" {
		e.s.mu.Lock()
		e.s.ack = time.Now()
		e.s.mu.Unlock()
	}
	return pos, err
}

func (e simLog) Read(ctx context.Context, keys ...string) (fleetlog.View, error) {
	e.s.gate(ctx)
	defer e.s.gate(ctx)
	return e.Conn.Read(ctx, keys...)
}

func (e simLog) Send(address string, data []byte) {
	e.s.gate(context.Background())
	e.Conn.Send(address, data)
}

func (w *world) tick() int64 { return w.now.Add(1) }

// run lets clients, writers and faults work for a while, then heals everything.
func (w *world) run() {
	for i := range w.slots {
		w.running.Go(func() { w.client(i) })
		w.running.Go(func() { w.writer(i) })
	}
	w.faults()
	w.heal()
	w.settle()
	w.stopping.Store(true)
	w.cancel()
	w.running.Wait()
	for _, s := range w.slots {
		w.stop(s)
	}
	for _, s := range w.dead {
		s.conn.Heal()
		w.stop(s)
	}
	time.Sleep(time.Minute) // what is on its way arrives
}

func (w *world) stop(s *slot) { s.node.Close() }

func (w *world) slot(i int) *slot {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.slots[i]
}

// client authenticates at one node.
func (w *world) client(i int) {
	rng := rand.New(rand.NewPCG(w.seedOf(i), 77))
	for !w.stopping.Load() {
		time.Sleep(time.Duration(20+rng.IntN(500)) * time.Millisecond)
		w.authenticate(w.slot(i), keys[rng.IntN(len(keys))], []string{"file", "index"}[rng.IntN(2)])
	}
}

// seedOf draws a seed for the goroutine of a slot.
func (w *world) seedOf(i int) uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, i, w.slots[i].clock.rate)
	return h.Sum64()
}

func (w *world) authenticate(s *slot, key, source string) {
	ctx, cancel := context.WithTimeout(w.ctx, 3*time.Second)
	defer cancel()
	start, at := w.tick(), time.Since(w.begin)
	s.gate(ctx)
	read := s.caches.readFile(key)
	if source == "index" {
		read = s.caches.readIndex(s.source, key)
	}
	v, hit, err := s.caches.authenticate(ctx, cacheKey{source, key}, read)
	if err != nil {
		w.refused.Add(1)
		return
	}
	s.mu.Lock()
	doubtful := start < s.doubtUntil
	s.mu.Unlock()
	if doubtful {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.h.auths = append(w.h.auths, authOp{start: start, node: s.number, key: key, source: source, read: v.read, version: v.version, hit: hit, at: at})
}

// writer changes things at one node.
func (w *world) writer(i int) {
	rng := rand.New(rand.NewPCG(w.seedOf(i), 78))
	for !w.stopping.Load() {
		time.Sleep(time.Duration(300+rng.IntN(5000)) * time.Millisecond)
		if w.stopping.Load() {
			return
		}
		w.change(w.slot(i), keys[rng.IntN(len(keys))], rng.IntN(7)%4)
	}
}

// change evicts a key, evicts all, writes a document, or what this version does not know.
func (w *world) change(s *slot, key string, kind int) error {
	s.gate(w.ctx)
	ctx, cancel := context.WithTimeout(w.ctx, 60*time.Second)
	defer cancel()
	c := changeOp{key: key, all: kind == 1 || kind == 3}
	var err error
	called := time.Now()
	if kind == 2 {
		c.document = int(w.versions.Add(1))
		doc := indexsource.Document{Token: account.TokenID(key), Creator: strconv.Itoa(c.document), Enabled: true, Hash: aHash}
		c.call = w.tick()
		err = s.node.Index().Put(ctx, doc)
	} else if kind == 3 {
		c.call = w.tick()
		err = s.node.SpreadLater(ctx)
	} else {
		names := "*"
		if !c.all {
			c.mark = -int(w.versions.Add(1))
			names = fmt.Sprintf("%s,mark%d", key, -c.mark) // by which it is found in the log
		}
		c.call = w.tick()
		_, err = s.node.Evict(ctx, account.Namespace, account.Service, names)
	}
	s.gate(w.ctx)
	if err == nil {
		c.ret = w.tick()
		w.bound(s, called)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.h.changes = append(w.h.changes, c)
	return err
}

// bound checks that a change which was acknowledged returned in time, if the node that
// asked for it had a session all the while: otherwise it may not know.
func (w *world) bound(s *slot, called time.Time) {
	s.mu.Lock()
	ack, disturbed, serving := s.ack, s.disturbed, s.serving
	s.mu.Unlock()
	took := time.Since(ack)
	if took > simLease {
		w.expired.Add(1)
	}
	if disturbed.After(called) || ack.Before(called) || serving.IsZero() || serving.After(called) {
		return
	}
	if limit := fleet.Allow(simLease)*1002/1000 + time.Millisecond; took > limit {
		w.complain("a change at node %d, called at %v, took %v after its acknowledgement, at most %v were promised", s.number, called.Sub(w.begin), took, limit)
	}
}

func (w *world) complain(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, fmt.Sprintf(format, args...))
}

// settle checks that all nodes serve and agree after the faults.
func (w *world) settle() {
	for i := range w.slots {
		ctx, cancel := context.WithTimeout(w.ctx, 3*simLease)
		if err := w.slots[i].node.Ready(ctx); err != nil {
			w.complain("node %d does not serve again: %v", i, err)
		}
		cancel()
	}
	for i, key := range keys {
		if err := w.change(w.slots[i], key, 2); err != nil {
			w.complain("after the faults: %v", err)
		}
	}
	for range 3 {
		for i := range w.slots {
			for _, key := range keys {
				w.authenticate(w.slots[i], key, "index")
			}
		}
		time.Sleep(time.Second)
	}
}

// problems returns what was wrong with a history.
func (w *world) problems() []string {
	w.h.logs = w.documentLogs()
	for i, c := range w.h.changes {
		for _, span := range w.lost {
			if c.call < span[1] && (c.ret == 0 || c.ret > span[0]) {
				w.h.changes[i].lost = true
			}
		}
	}
	return append(w.errs, w.h.violations()...)
}

func (w *world) documentLogs() []map[string][]int {
	var logs []map[string][]int
	for _, messages := range w.log.Histories() {
		log := make(map[string][]int)
		for _, m := range messages {
			if key, ok := strings.CutPrefix(m.Key, "doc.elastic.fleet-server."); ok {
				_, after, _ := strings.Cut(string(m.Value), `"creator":"`)
				version, _, _ := strings.Cut(after, `"`)
				log[key] = append(log[key], parseVersion(version))
			} else if _, after, ok := strings.Cut(string(m.Value), "mark"); ok && strings.HasPrefix(m.Key, "evict.") {
				number, _, _ := strings.Cut(after, ",")
				number, _, _ = strings.Cut(number, `"`)
				for _, key := range keys {
					log[key] = append(log[key], -parseVersion(number))
				}
			}
		}
		logs = append(logs, log)
	}
	return logs
}

func parseVersion(s string) int {
	v, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return v
}
