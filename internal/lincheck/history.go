package lincheck

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/svctoken/svctoken/tokencache"
)

// A profile is a kind of program.
type profile struct {
	name  string
	loose bool // check with the loose model
	real  bool // a real file and a real index, instead of the harness's sources
	cfg   tokencache.Config

	// secrets has every version of a token have a secret of its own, so that wrong
	// ones are presented; else all versions have the same.
	secrets bool
}

var profiles = []profile{
	{name: "strict", cfg: tokencache.Config{Jitter: -1}},
	{name: "one load at a time", cfg: tokencache.Config{MaxLoads: 1}},
	{name: "secrets", loose: true, secrets: true},
	{name: "displacement", loose: true, cfg: tokencache.Config{MaxEntries: 1}},
	{name: "expiry", loose: true, secrets: true, cfg: tokencache.Config{TTL: 20 * time.Microsecond, Jitter: 20 * time.Microsecond}},
	{name: "off", loose: true, cfg: tokencache.Config{TTL: -1}},
	{name: "file and index", loose: true, real: true, secrets: true},
}

var (
	account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	sibling = tokencache.Account{Namespace: "elastic", Service: "fleet-server-2"}

	// ids are the tokens: one name is the beginning of another, and one account too.
	ids = [tokens]tokencache.TokenID{account.TokenID("token1"), account.TokenID("token10"), sibling.TokenID("token1")}
)

const (
	clients = 3
	each    = 7  // calls of each client
	foreign = 15 // a version whose secret no source ever has
)

// A world is what one history runs on.
type world struct {
	profile profile
	group   *tokencache.Group
	caches  [caches]member
	last    [slots]atomic.Uint32 // the version last given to a slot
	clock   atomic.Int64         // instants: calls and returns take one each

	mu      sync.Mutex // guards history
	history []porcupine.Operation
}

// A member is one cache of the pair and its source.
type member interface {
	authenticate(context.Context, tokencache.Token) (version, error)
	// change has the source say something else of a token, and reports whether it
	// also evicted: a real source does.
	change(token int, v version) (evicted versions)
	evict(...tokencache.Selector)
	clear()
	close()
}

// record adds an operation that ran from an instant until now.
func (w *world) record(client int, from int64, in input, out output) {
	w.add(porcupine.Operation{ClientId: client, Input: in, Call: from, Output: out, Return: w.clock.Add(1)})
}

func (w *world) add(op porcupine.Operation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history = append(w.history, op)
}

// run runs the program of a seed, and returns its history. The same seed gives the
// same program, though not the same schedule.
func run(seed uint64, p profile, dir string) ([]porcupine.Operation, error) {
	w, err := newWorld(p, dir)
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	for client := range clients {
		rng := rand.New(rand.NewPCG(seed, uint64(client)))
		wg.Go(func() {
			for range each {
				w.call(client, rng)
				yield(rng.IntN(3))
			}
		})
	}
	wg.Wait()
	w.group.Close()
	for _, m := range w.caches {
		m.close()
	}
	return addMisses(w.history), nil
}

// addMisses gives each authentication that overlaps an eviction of its slot its
// second instant; see miss.
func addMisses(history []porcupine.Operation) []porcupine.Operation {
	var call calls = 1
	for i, op := range slices.Clone(history) {
		in := op.Input.(input)
		if in.kind != authenticate || !crossed(op, history) {
			continue
		}
		in.call, call = call, call<<1
		history[i].Input = in
		op.Input, op.Output = input{kind: miss, slot: in.slot, call: in.call}, output{}
		history = append(history, op)
	}
	return history
}

// crossed reports whether an eviction of the operation's slot overlaps it.
func crossed(op porcupine.Operation, history []porcupine.Operation) bool {
	return slices.ContainsFunc(history, func(other porcupine.Operation) bool {
		o := other.Input.(input)
		return o.kind == evict && o.slots>>op.Input.(input).slot&1 == 1 && other.Call < op.Return && op.Call < other.Return
	})
}

// yield gives others a chance to run in between.
func yield(times int) {
	for range times {
		runtime.Gosched()
	}
}

// call makes one random call.
func (w *world) call(client int, rng *rand.Rand) {
	switch n := rng.IntN(100); {
	case n < 45:
		w.authenticate(client, rng)
	case n < 55:
		w.authenticateInGroup(client, rng)
	case n < 75:
		w.write(client, rng, rng.IntN(2) == 0)
	case n < 99:
		w.evict(client, rng)
	default:
		cache := rng.IntN(caches)
		from := w.clock.Add(1)
		w.caches[cache].close()
		w.record(client, from, input{kind: closeCache, cache: cache}, output{})
	}
}

// token returns a token of a slot's name, with a secret of a version that the slot
// has had, or else of none.
func (w *world) token(slot int, rng *rand.Rand) (tokencache.Token, version) {
	v := version(0)
	if w.profile.secrets {
		v = foreign
		if rng.IntN(10) > 0 {
			v = version(1 + rng.IntN(int(w.last[slot].Load())))
		}
	}
	return tokenOf(slot, v), v
}

func tokenOf(slot int, v version) tokencache.Token {
	t, err := tokencache.NewToken(ids[slot%tokens], secretOf(slot, v))
	if err != nil {
		panic(err) // the names above are valid
	}
	return t
}

// context returns a context that is sometimes cancelled at a random moment.
func callContext(rng *rand.Rand) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	if rng.IntN(8) == 0 {
		n := rng.IntN(6)
		go func() { yield(n); cancel() }()
	}
	return ctx, cancel
}

func (w *world) authenticate(client int, rng *rand.Rand) {
	slot := rng.IntN(slots)
	token, v := w.token(slot, rng)
	ctx, cancel := callContext(rng)
	defer cancel()
	from := w.clock.Add(1)
	confirmed, err := w.caches[slot/tokens].authenticate(ctx, token)
	in := input{kind: authenticate, slot: slot, version: v, any: !w.profile.secrets}
	switch {
	case err == nil:
		if w.profile.secrets {
			confirmed = v
		}
		w.record(client, from, in, output{true, confirmed})
	case errors.Is(err, tokencache.ErrRefused):
		w.record(client, from, in, output{})
	}
	// Any other error says nothing of the token.
}

// authenticateInGroup asks both caches. A verdict from memory is one instant, in the
// cache that remembers: it says nothing of the cache before. Any other answer is
// an instant in each cache that was asked, within the same call.
func (w *world) authenticateInGroup(client int, rng *rand.Rand) {
	slot := rng.IntN(slots)
	token, v := w.token(slot, rng)
	from := w.clock.Add(1)
	verdict, err := w.group.Authenticate(context.Background(), header(token))
	if err != nil && !errors.Is(err, tokencache.ErrRefused) {
		return
	}
	to := w.clock.Add(1)
	for cache := range caches {
		in := input{kind: authenticate, slot: cache*tokens + slot%tokens, version: foreign, any: !w.profile.secrets}
		if in.slot == slot {
			in.version = v
		}
		var out output
		confirms := err == nil && verdict.Cache == cacheNames[cache]
		if verdict.FromMemory && !confirms {
			continue
		}
		if confirms {
			out = output{true, in.version}
			if !w.profile.secrets {
				out.version = verdict.Record.(version)
			}
		}
		w.add(porcupine.Operation{ClientId: client, Input: in, Call: from, Output: out, Return: to})
		if out.ok {
			return
		}
	}
}

// write has a source say something else, and may evict the token afterwards.
func (w *world) write(client int, rng *rand.Rand, thenEvict bool) {
	slot := rng.IntN(slots)
	v := version(0)
	if rng.IntN(4) > 0 {
		v = version(w.last[slot].Add(1))
		if v >= foreign {
			w.last[slot].Store(foreign - 1)
			return
		}
	}
	m := w.caches[slot/tokens]
	from := w.clock.Add(1)
	evicted := m.change(slot%tokens, v)
	to := w.clock.Add(1)
	w.add(porcupine.Operation{ClientId: client, Input: input{kind: write, slot: slot, version: v}, Call: from, Output: output{}, Return: to})
	if evicted != 0 {
		in := input{kind: evict, slots: evicted << (slot / tokens * tokens), after: true, slot: slot, version: v}
		w.add(porcupine.Operation{ClientId: client, Input: in, Call: from, Output: output{}, Return: to})
	}
	if thenEvict {
		from := w.clock.Add(1)
		m.evict(selectNames(ids[slot%tokens].Account, ids[slot%tokens].Name))
		w.record(client, from, input{kind: evict, slots: only(version(slot))}, output{})
	}
}

func selectNames(a tokencache.Account, names ...string) tokencache.Selector {
	sel, err := a.Select(names...)
	if err != nil {
		panic(err) // the names above are valid
	}
	return sel
}

func selectAll(a tokencache.Account) tokencache.Selector {
	sel, err := a.SelectAll()
	if err != nil {
		panic(err) // the names above are valid
	}
	return sel
}

// evict evicts in one of the ways that there are.
func (w *world) evict(client int, rng *rand.Rand) {
	var sels []tokencache.Selector
	var selected versions // of the tokens of one cache
	switch rng.IntN(6) {
	case 0:
		sels, selected = []tokencache.Selector{selectNames(account, "token1")}, 0b001
	case 1:
		sels, selected = []tokencache.Selector{selectNames(account, "token10", "token1", "nobody")}, 0b011
	case 2:
		sels, selected = []tokencache.Selector{selectAll(account)}, 0b011
	case 3:
		sels, selected = []tokencache.Selector{selectAll(sibling)}, 0b100
	case 4:
		sels, selected = []tokencache.Selector{selectAll(sibling), selectNames(account, "token10")}, 0b110
	default:
		selected = 0b111 // everything
	}
	cache := rng.IntN(caches + 1) // or all of them
	var m interface {
		evict(...tokencache.Selector)
		clear()
	} = groupOf{w.group}
	both := selected | selected<<tokens
	if cache < caches {
		m, both = w.caches[cache], selected<<(cache*tokens)
	}
	from := w.clock.Add(1)
	if sels == nil {
		m.clear()
	} else {
		m.evict(sels...)
	}
	w.record(client, from, input{kind: evict, slots: both}, output{})
}

// groupOf has a group's evictions look like a member's.
type groupOf struct{ *tokencache.Group }

func (g groupOf) evict(sels ...tokencache.Selector) {
	g.Evict(context.Background(), tokencache.CauseAsked, sels...)
}
func (g groupOf) clear() { g.Clear(context.Background(), tokencache.CauseAsked) }
