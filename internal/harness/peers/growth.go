package peers

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleettest"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/indexsource/sqlindex"
	"github.com/svctoken/svctoken/internal/harness/peers/turns"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
)

// A Growth has the times of an operation as its work grows, or as the data beside it
// grows.
type Growth struct {
	Name  string
	Of    string    // of what Sizes are the numbers
	Work  bool      // whether Sizes are the operation's work; otherwise it is data beside it
	Sizes []int     // the least first
	Times []float64 // nanoseconds of the processor, in the best round
}

// Exponent returns the power of the size with which the time grows, from the least to the
// largest size: 1 means in proportion, 0 not at all.
func (g Growth) Exponent() float64 {
	last := len(g.Sizes) - 1
	return math.Log(g.Times[last]/g.Times[0]) / math.Log(float64(g.Sizes[last])/float64(g.Sizes[0]))
}

// Each returns the times for one piece of work, relative to that at the least size.
func (g Growth) Each() (each []float64) {
	for i, t := range g.Times {
		if each = append(each, t/g.Times[0]); g.Work {
			each[i] *= float64(g.Sizes[0]) / float64(g.Sizes[i])
		}
	}
	return each
}

// An operation can be measured at some sizes.
type operation struct {
	name, of string
	work     bool
	sizes    []int
	start    func(n int) (c turns.Contestant, stop func())
}

var (
	small  = []int{1e2, 1e3, 1e4}
	medium = []int{1e3, 1e4, 1e5}
	large  = []int{1e3, 1e4, 1e5, 1e6}
)

var operations = []operation{
	{"hit", "tokens in the cache", false, large, growHit},
	{"miss, which displaces", "tokens in the cache", false, large, growMiss},
	{"evict one token", "tokens in the cache", false, large, growEvictOne},
	{"evict a list of names", "names", true, small, growEvictList},
	{"evict an account, by wildcard", "tokens of the account", true, medium, growWildcard},
	{"clear", "tokens in the cache", true, medium, growClear},
	{"list an account, index in memory", "tokens of the account", true, medium, growList},
	{"list an account of 100, index in memory", "tokens in the index", false, medium, growListBeside},
	{"reload a file after one change", "lines", true, medium, growReload},
	{"join a fleet", "documents in the log", true, small, growJoin},
	{"poll an SQL index", "changes since the last poll", true, small, growPoll},
	{"poll an SQL index without a change", "tokens in the index", false, medium, growIdlePoll},
}

// Grow measures each operation at several sizes up to the largest, which take turns.
func Grow(rounds, largest int) (all []Growth) {
	for _, o := range operations {
		all = append(all, o.grow(rounds, largest))
	}
	return all
}

func (o operation) grow(rounds, largest int) Growth {
	g := Growth{Name: o.name, Of: o.of, Work: o.work}
	var contestants []turns.Contestant
	for _, n := range o.sizes {
		if n > largest {
			break
		}
		g.Sizes = append(g.Sizes, n)
		c, stop := o.start(n)
		defer stop()
		c.Name = fmt.Sprint(n)
		contestants = append(contestants, c)
	}
	for _, t := range turns.Compare(turns.Process, rounds, contestants...) {
		g.Times = append(g.Times, t.Best())
	}
	return g
}

func growHit(n int) (turns.Contestant, func()) {
	h := NewHost(HostOptions{Tokens: n})
	return inRandomOrder("", h.Headers, func(header string) bool {
		_, err := h.Group.Authenticate(context.Background(), header)
		return err == nil
	}), h.Group.Close
}

func growMiss(n int) (turns.Contestant, func()) {
	g, _ := filled(n)
	next := n
	var headers []string
	return turns.Contestant{
		N: 2000,
		Prepare: func(n int) {
			headers = headers[:0]
			for range n {
				headers = append(headers, Header(next, 22, false))
				next++
			}
		},
		Do: func(int) {
			for _, header := range headers {
				must(g.Authenticate(context.Background(), header))
			}
		},
	}, g.Close
}

func growEvictOne(n int) (turns.Contestant, func()) {
	const each = 500
	g, _ := filled(n)
	var selectors []tokencache.Selector
	for i := range each {
		selectors = append(selectors, must(Account.Select(tokenName(i))))
	}
	return turns.Contestant{
		N:       each,
		Prepare: func(int) { fillFrom(g, Account, each) },
		Do: func(int) {
			for _, sel := range selectors {
				g.Evict(context.Background(), sel)
			}
		},
	}, g.Close
}

// fillFrom lets the group remember the first n tokens of an account.
func fillFrom(g *tokencache.Group, account tokencache.Account, n int) {
	for i := range n {
		must(g.AuthenticateToken(context.Background(), must(tokencache.NewToken(account.TokenID(tokenName(i)), tokencache.NewSecret("0123456789abcdefghijkl")))))
	}
}

// growForget forgets n tokens at once.
func growForget(n int, forget func(*tokencache.Group)) (turns.Contestant, func()) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	must(tokencache.New(g, "cache", present{}, tokencache.Config{MaxEntries: n}))
	return turns.Contestant{
		N:       1,
		Prepare: func(int) { fillFrom(g, Account, n) },
		Do:      func(int) { forget(g) },
	}, g.Close
}

func growEvictList(n int) (turns.Contestant, func()) {
	names := make([]string, n)
	for i := range names {
		names[i] = tokenName(i)
	}
	sel := must(Account.Select(names...))
	return growForget(n, func(g *tokencache.Group) { g.Evict(context.Background(), sel) })
}

func growWildcard(n int) (turns.Contestant, func()) {
	sel := must(Account.SelectAll())
	return growForget(n, func(g *tokencache.Group) { g.Evict(context.Background(), sel) })
}

func growClear(n int) (turns.Contestant, func()) {
	return growForget(n, func(g *tokencache.Group) { g.Clear(context.Background()) })
}

// memoryIndex has tokens of an account, and of others.
func memoryIndex(of, others int) *indexsource.Memory {
	m := new(indexsource.Memory)
	hash := tokenhash.New(tokencache.GenerateSecret())
	for i := range of + others {
		account := Account
		if i >= of {
			account.Service = fmt.Sprint("other-", i%1000)
		}
		if err := m.Put(context.Background(), indexsource.Document{Token: account.TokenID(tokenName(i)), Hash: hash, Enabled: true}); err != nil {
			panic(err)
		}
	}
	return m
}

func growList(n int) (turns.Contestant, func()) { return listOf(memoryIndex(n, 0)) }

func growListBeside(n int) (turns.Contestant, func()) { return listOf(memoryIndex(100, n-100)) }

func listOf(m *indexsource.Memory) (turns.Contestant, func()) {
	return turns.Contestant{Do: func(n int) {
		for range n {
			must(m.List(context.Background(), Account))
		}
	}}, func() {}
}

// temporary returns a path in a folder of its own.
func temporary(name string) (path string, remove func()) {
	dir := must(os.MkdirTemp("", "svctoken-growth-"))
	return filepath.Join(dir, name), func() { os.RemoveAll(dir) }
}

func growReload(n int) (turns.Contestant, func()) {
	path, remove := temporary("service_tokens")
	hash := tokenhash.New(tokencache.GenerateSecret()).Reveal()
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "%s:%s\n", Account.TokenID(tokenName(i)), hash)
	}
	contents := [2]string{text.String(), strings.Replace(text.String(), tokenName(n/2), tokenName(n), 1)}
	write := func(i int) {
		if err := os.WriteFile(path, []byte(contents[i%2]), 0o600); err != nil {
			panic(err)
		}
	}
	write(0)
	file := must(filesource.Open(path, filesource.Config{Poll: -1, Rest: -1}))
	turn := 0
	return turns.Contestant{
		N:       1,
		Prepare: func(int) { turn++; write(turn) },
		Do: func(int) {
			if err := file.Reload(); err != nil {
				panic(err)
			}
		},
	}, func() { file.Close(); remove() }
}

func growJoin(n int) (turns.Contestant, func()) {
	shared := fleettest.NewLog()
	join := func() (*fleet.Node, func()) {
		g := tokencache.NewGroup(tokencache.GroupConfig{})
		node := must(fleet.New(shared.Connect(), g, fleet.Config{}))
		must(tokencache.New(g, "index", indexsource.New(node.Index()), tokencache.Config{}))
		if err := node.Ready(context.Background()); err != nil {
			panic(err)
		}
		return node, func() { node.Close(); g.Close() }
	}
	first, leave := join()
	shared.Settle()
	for i := range n {
		must(first.Index().Create(context.Background(), Account.TokenID(tokenName(i)), "report"))
	}
	leave()
	return turns.Contestant{N: 1, Do: func(int) {
		_, leave := join()
		leave()
	}}, func() {}
}

// A polled is an SQL index that is polled by hand, in a file of SQLite's.
type polled struct {
	db    *sql.DB
	index *sqlindex.Index
	next  int
	close func()
}

func newPolled() *polled {
	path, remove := temporary("index.db")
	db := must(sql.Open("sqlite3", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)"))
	index := must(sqlindex.New(db, sqlindex.SQLite, sqlindex.Config{Poll: -1}))
	if err := index.Migrate(context.Background()); err != nil {
		panic(err)
	}
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	must(tokencache.New(g, "index", indexsource.New(index), tokencache.Config{}))
	p := &polled{db: db, index: index, close: func() { g.Close(); index.Close(); db.Close(); remove() }}
	p.poll()
	return p
}

func (p *polled) poll() {
	if err := p.index.Poll(context.Background()); err != nil {
		panic(err)
	}
}

// add creates n tokens, as another process would.
func (p *polled) add(n int) {
	must(p.db.Exec(`INSERT INTO svctoken_tokens (namespace, service, name, hash)
WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1 + ?2 - 1) SELECT 'a', 's' || (i % 1000), 't' || i, ?3 FROM n`,
		p.next, n, tokenhash.New(tokencache.GenerateSecret()).Reveal()))
	p.next += n
}

func growPoll(n int) (turns.Contestant, func()) {
	p := newPolled()
	return turns.Contestant{N: 1, Prepare: func(int) { p.add(n) }, Do: func(int) { p.poll() }}, p.close
}

func growIdlePoll(n int) (turns.Contestant, func()) {
	p := newPolled()
	p.add(n)
	p.poll()
	return turns.Contestant{Do: func(n int) {
		for range n {
			p.poll()
		}
	}}, p.close
}
