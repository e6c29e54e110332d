package lincheck

import (
	"context"
	"errors"
	"fmt"
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
	three bool // caches instead of two
	one   bool // source that all caches have
	group tokencache.GroupConfig
	cfg   tokencache.Config

	// secrets gives every version of a token a secret of its own, so that wrong ones are
	// presented; otherwise all versions have the same.
	secrets bool

	ordered bool // one write of a token at a time
	rotates bool // most new secrets leave the previous one good for a while

	// How the harness's sources behave.
	tells   bool // they tell their caches of each change
	holds   bool // they are a tokencache.Holder
	fails   bool // they fail now and then
	expires bool // some versions expire by themselves
	moves   bool // tokens move between the sources, and each is always held by one

	disables bool // instead of being absent, a token is disabled
	asks     bool // they verify by Answer.Ask, which fails now and then
	panics   bool // they panic now and then
	overdue  bool // they take too long now and then, and ignore their context
	lingers  bool // they verify until the answer that they have read has expired

	noise  bool // other goroutines fill the table and keep the mutex busy; see noise
	leases bool // the group's lease lapses and is renewed
	sleeps bool // the machine sleeps now and then, which sets the wall clock ahead
	sets   bool // somebody sets the wall clock, ahead and back

	// allows are the reasons for which there may be no answer, besides a caller that gave
	// up and a cache that was closed. A history with any other reason fails.
	allows []tokencache.Reason

	// shows counts the events for which the profile exists, and which must have happened.
	// Nil: ends of versions, or of graces.
	shows func(tokencache.Stats) uint64
}

var profiles = []profile{
	{name: "strict", cfg: tokencache.Config{Jitter: -1}, shows: hits},
	{name: "one load at a time", cfg: tokencache.Config{MaxLoads: 1}, shows: hits},
	{name: "turns", group: tokencache.GroupConfig{MaxHashing: 1, MaxQueue: 1}, cfg: tokencache.Config{MaxLoads: 1}, shows: hits, allows: overloads},
	{name: "sources that tell", tells: true, shows: absences},
	{name: "sources that know what they hold", tells: true, holds: true, shows: hits},
	{name: "moves", tells: true, moves: true, shows: absences},
	{name: "moves to a holder", tells: true, holds: true, moves: true, shows: hits},
	{name: "secrets", loose: true, secrets: true, shows: func(st tokencache.Stats) uint64 { return st.Mismatches }},
	{name: "hidden names", loose: true, secrets: true, cfg: tokencache.Config{HideNames: true}, shows: func(st tokencache.Stats) uint64 { return st.Refusals }},
	{name: "displacement", loose: true, cfg: tokencache.Config{MaxEntries: 1}, shows: func(st tokencache.Stats) uint64 { return st.Displaced }},
	{name: "expiry", loose: true, secrets: true, cfg: tokencache.Config{TTL: 20 * time.Microsecond, Jitter: 20 * time.Microsecond}, shows: expiries},
	{name: "expiry by token", loose: true, secrets: true, expires: true},
	{name: "expiry by token, told", loose: true, secrets: true, expires: true, tells: true},
	{name: "stale", loose: true, fails: true, cfg: staleConfig, shows: stale, allows: failures},
	{name: "stale, told", loose: true, fails: true, tells: true, cfg: staleConfig, shows: stale, allows: failures},
	{name: "refresh ahead", loose: true, tells: true, cfg: tokencache.Config{TTL: 200 * time.Microsecond, Jitter: -1, RefreshAhead: 199 * time.Microsecond},
		shows: func(st tokencache.Stats) uint64 { return st.Refreshed }},
	{name: "off", loose: true, cfg: tokencache.Config{TTL: -1}, shows: func(st tokencache.Stats) uint64 { return st.Misses }},
	{name: "among others", noise: true, shows: hits},
	{name: "among others, told", tells: true, noise: true, shows: absences},
	{name: "expiry by token, among others", loose: true, secrets: true, expires: true, tells: true, noise: true},
	{name: "expiry by token, while it is verified", loose: true, secrets: true, expires: true, lingers: true},
	{name: "leases", leases: true, shows: hits, allows: lapses},
	{name: "leases, with secrets", loose: true, secrets: true, leases: true, shows: func(st tokencache.Stats) uint64 { return st.Mismatches }, allows: lapses},
	{name: "disabled", tells: true, disables: true, shows: absences},
	{name: "disabled, not told", disables: true, cfg: tokencache.Config{AbsentTTL: -1}, shows: func(st tokencache.Stats) uint64 { return st.Refusals }},
	{name: "asks", loose: true, secrets: true, asks: true, cfg: tokencache.Config{MaxBackoff: -1}, shows: hits, allows: failures},
	{name: "panics", panics: true, cfg: tokencache.Config{MaxBackoff: -1}, shows: func(st tokencache.Stats) uint64 { return st.Errors },
		allows: []tokencache.Reason{tokencache.ReasonSourcePanicked}},
	{name: "abandoned", overdue: true, cfg: tokencache.Config{LoadTimeout: 200 * time.Microsecond}, shows: func(st tokencache.Stats) uint64 { return st.Errors },
		allows: []tokencache.Reason{tokencache.ReasonSourceTimeout, tokencache.ReasonUnavailable, tokencache.ReasonOverloaded}},
	{name: "file and index", loose: true, real: true, secrets: true, shows: hits},
	{name: "three caches", three: true, tells: true, shows: absences},
	{name: "three caches, among others", three: true, noise: true, shows: hits},
	{name: "one source in two caches", one: true, shows: hits},
	{name: "one source in two caches, told", one: true, tells: true, shows: absences},
	{name: "one source in three caches, told", one: true, three: true, tells: true, holds: true, shows: hits},
	{name: "later reads", loose: true, secrets: true, ordered: true, shows: hits},
	{name: "later reads, told", loose: true, secrets: true, ordered: true, tells: true, shows: hits},
	{name: "rotations", loose: true, secrets: true, rotates: true, tells: true},
	{name: "rotations, not told", loose: true, secrets: true, rotates: true},
	{name: "rotations, among others", loose: true, secrets: true, rotates: true, expires: true, tells: true, noise: true},
	{name: "sleeps", loose: true, secrets: true, expires: true, tells: true, sleeps: true},
	{name: "clocks that are set", loose: true, secrets: true, expires: true, tells: true, sets: true},
	{name: "rotations while the machine sleeps", loose: true, secrets: true, rotates: true, expires: true, tells: true, sleeps: true},
	{name: "rotations while clocks are set", loose: true, secrets: true, rotates: true, expires: true, tells: true, sets: true},
	{name: "file and index while clocks are set", loose: true, real: true, secrets: true, rotates: true, expires: true, sets: true},
}

var staleConfig = tokencache.Config{TTL: 20 * time.Microsecond, Jitter: -1, ServeStale: time.Hour, MaxBackoff: -1}

var (
	overloads = []tokencache.Reason{tokencache.ReasonOverloaded}
	failures  = []tokencache.Reason{tokencache.ReasonSourceFailed}
	lapses    = []tokencache.Reason{tokencache.ReasonLapsed}
)

func hits(st tokencache.Stats) uint64     { return st.Hits }
func absences(st tokencache.Stats) uint64 { return st.Absent }
func expiries(st tokencache.Stats) uint64 { return st.Expired }
func stale(st tokencache.Stats) uint64    { return st.Stale }

var (
	account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	sibling = tokencache.Account{Namespace: "elastic", Service: "fleet-server-2"}

	// ids are the tokens. One name is the beginning of another, and so is one account.
	ids = [tokens]tokencache.TokenID{account.TokenID("token1"), account.TokenID("token10"), sibling.TokenID("token1")}
)

const (
	clients = 3
	each    = 7  // calls of each client
	eachMay = 5  // the same, if a call may be a move: four operations
	foreign = 15 // a version whose secret no source has at any time
)

// A world is the group and the sources of one history.
type world struct {
	profile profile
	group   *tokencache.Group
	caches  []member
	writing [slots]sync.Mutex    // held while a slot is written, if its writes are ordered
	present [slots]version       // what was written last, if they are
	last    [slots]atomic.Uint32 // the version last given to a slot
	clock   atomic.Int64         // instants: calls and returns take one each

	moves [tokens]moves
	ended atomic.Uint64 // versions and graces that ended by themselves while the program ran

	mu         sync.Mutex // guards the fields below
	history    []porcupine.Operation
	wall       wall
	ending     []endingVersion
	unanswered map[tokencache.Reason]int
	failure    error // a failure that the model cannot see
}

// moves counts the moves of a token between the sources, one at a time.
type moves struct {
	sync.Mutex
	to                int // which cache's source holds it
	started, finished atomic.Int64
}

// A saying is a source's answer about a token.
type saying struct {
	version version
	expires time.Time // the zero Time: never
	rotated bool      // the secret of the version before is good, too
	grace   time.Time // until then
}

// A member is one cache and its source.
type member interface {
	authenticate(context.Context, tokencache.Token) (version, error)
	// change changes the source's answer about a token, and reports whether that also
	// evicted it, as a real source does.
	change(token int, says saying) (evicted versions)
	ends() bool // the source's answers may end by themselves
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

// A finding is the result of a history.
type finding struct {
	shown      uint64                    // how often the events for which the profile exists have happened
	unanswered map[tokencache.Reason]int // the calls that had no answer
}

// run runs the program of a seed, and returns its history and its finding. The same seed
// gives the same program, though not the same schedule.
func run(seed uint64, p profile, dir string) (history []porcupine.Operation, found finding, err error) {
	defer p.alone()()
	w, err := newWorld(p, dir)
	if err != nil {
		return nil, found, err
	}
	stop := func() {}
	if p.noise {
		stop = w.noise()
	}
	var wg sync.WaitGroup
	for client := range clients {
		rng := rand.New(rand.NewPCG(seed, uint64(client)))
		wg.Go(func() {
			for range w.each() {
				w.ended.Add(w.noteEnds(client))
				w.call(client, rng)
				yield(rng.IntN(3))
			}
		})
	}
	wg.Wait()
	stop()
	w.noteLastEnds()
	w.group.Close()
	for _, m := range w.caches {
		m.close()
	}
	found.shown, found.unanswered = w.ended.Load(), w.unanswered
	if p.shows != nil {
		for _, st := range w.group.Caches() {
			found.shown += p.shows(st)
		}
	}
	return addInstants(w.history), found, w.failure
}

func (w *world) each() int {
	if w.profile.moves {
		return eachMay
	}
	return each
}

// addInstants gives each authentication its other instants: a miss, if an eviction of its
// slot overlaps it, and a leave, if a renewal of the lease does.
func addInstants(history []porcupine.Operation) []porcupine.Operation {
	var call calls = 1
	for i, op := range slices.Clone(history) {
		in := op.Input.(input)
		if in.kind != authenticate {
			continue
		}
		evicted := overlapped(op, history, func(o input) bool { return o.kind == evict && o.slots>>in.slot&1 == 1 })
		in.leaves = overlapped(op, history, func(o input) bool { return o.kind == lease && !o.lapsed })
		for _, other := range history {
			if o := other.Input.(input); o.ending == revived && o.slot == in.slot && overlap(op, other) {
				in.revived = in.revived.with(o.version)
			}
		}
		history[i].Input = in
		if !evicted && !in.leaves {
			continue
		}
		in.call, call = call, call<<1
		history[i].Input = in
		add := func(k kind) {
			op.Input, op.Output = input{kind: k, slot: in.slot, call: in.call}, output{}
			history = append(history, op)
		}
		if evicted {
			add(miss)
		}
		if in.leaves {
			add(leave)
		}
	}
	return history
}

// overlapped reports whether such an operation overlaps this one.
func overlapped(op porcupine.Operation, history []porcupine.Operation, such func(input) bool) bool {
	return slices.ContainsFunc(history, func(other porcupine.Operation) bool {
		return such(other.Input.(input)) && overlap(op, other)
	})
}

func overlap(a, b porcupine.Operation) bool { return a.Call < b.Return && b.Call < a.Return }

// yield gives others a chance to run in between.
func yield(times int) {
	for range times {
		runtime.Gosched()
	}
}

// call makes one random call.
func (w *world) call(client int, rng *rand.Rand) {
	if w.profile.moves {
		w.callWhileMoving(client, rng)
		return
	}
	switch n := rng.IntN(100); {
	case w.profile.leases && n < 15:
		w.lease(client, n < 8)
	case w.profile.stepped() && n < 10:
		w.step(client, rng)
	case n < 45:
		w.authenticate(client, rng)
	case n < 55:
		w.authenticateInGroup(client, rng)
	case n < 75:
		w.write(client, rng, rng.IntN(2) == 0)
	case n < 99:
		w.evict(client, rng)
	default:
		cache := rng.IntN(len(w.caches))
		from := w.clock.Add(1)
		w.caches[cache].close()
		w.record(client, from, input{kind: closeCache, cache: cache}, output{})
	}
}

// callWhileMoving makes one random call that leaves each token in a source.
func (w *world) callWhileMoving(client int, rng *rand.Rand) {
	switch n := rng.IntN(100); {
	case n < 10:
		w.authenticate(client, rng)
	case n < 60:
		w.authenticateInGroup(client, rng)
	case n < 85:
		w.move(client, rng.IntN(tokens))
	default:
		w.evict(client, rng)
	}
}

// move makes the other source gain a token before the one that has it loses it.
func (w *world) move(client int, token int) {
	m := &w.moves[token]
	m.Lock()
	defer m.Unlock()
	to := slot(1-m.to, token)
	v := version(w.last[to].Add(1))
	if v >= foreign {
		w.last[to].Store(foreign - 1)
		return
	}
	m.started.Add(1)
	w.change(client, to, saying{version: v})
	w.change(client, slot(m.to, token), saying{})
	m.to = 1 - m.to
	m.finished.Add(1)
}

// mayMove is how often a token may move during a call without being refused.
const mayMove = 3

// token returns a token of a slot's name, with the secret of a version that the slot has
// had, or of no version.
func (w *world) token(slot int, rng *rand.Rand) (tokencache.Token, version) {
	v := version(0)
	if w.profile.secrets {
		v = foreign
		if last := int(w.last[slot].Load()); rng.IntN(10) > 0 {
			v = version(1 + rng.IntN(last))
			if w.profile.rotates || w.profile.lingers {
				v = version(max(1, last-rng.IntN(3)))
			}
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
	slot := w.slot(rng)
	token, v := w.token(slot, rng)
	ctx, cancel := callContext(rng)
	defer cancel()
	from := w.clock.Add(1)
	confirmed, err := w.caches[slot/tokens].authenticate(ctx, token)
	in := w.authentication(slot, v)
	switch {
	case err == nil:
		if w.profile.secrets {
			confirmed = v
		}
		w.record(client, from, in, output{true, confirmed})
	case errors.Is(err, tokencache.ErrRefused):
		w.record(client, from, in, output{})
	default:
		w.noAnswer(err) // this says nothing about the token
	}
}

// slot returns a slot at random. While a source lingers, most calls are about one token,
// so that some come after it has expired, and meet the load.
func (w *world) slot(rng *rand.Rand) int {
	if w.profile.lingers && rng.IntN(4) > 0 {
		return 0
	}
	return rng.IntN(w.slots())
}

// slots returns how many there are.
func (w *world) slots() int { return len(w.caches) * tokens }

// authentication returns the input of an authentication with the secret of a version.
func (w *world) authentication(slot int, v version) input {
	return input{kind: authenticate, slot: slot, version: v, any: !w.profile.secrets, ordered: w.profile.ordered}
}

// inOrder reports whether one write of a token ends before the next one begins.
func (p *profile) inOrder() bool { return p.ordered || p.rotates }

// authenticateInGroup asks all caches. A verdict from memory is one instant, in the cache
// that remembers: it says nothing about the caches before. Any other answer is an instant
// in each cache that was asked, within the same call.
func (w *world) authenticateInGroup(client int, rng *rand.Rand) {
	slot := w.slot(rng)
	token, v := w.token(slot, rng)
	moves := &w.moves[slot%tokens]
	before := moves.finished.Load()
	from := w.clock.Add(1)
	verdict, err := w.group.Authenticate(context.Background(), header(token))
	if err != nil && !errors.Is(err, tokencache.ErrRefused) {
		w.noAnswer(err)
		return
	}
	to := w.clock.Add(1)
	if err != nil && w.profile.moves && moves.started.Load()-before <= mayMove {
		w.fail(fmt.Errorf("%v, which one source or the other has held all the while: %w", token, err))
	}
	if err == nil && !verdict.FromMemory && !w.profile.secrets {
		in := input{kind: forgotten, slot: slot % tokens}
		w.add(porcupine.Operation{ClientId: client, Input: in, Call: from, Output: output{}, Return: to})
	}
	for cache := range w.caches {
		in := w.authentication(cache*tokens+slot%tokens, foreign)
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

// write changes a source's answer, and may evict the token afterwards.
func (w *world) write(client int, rng *rand.Rand, thenEvict bool) {
	slot := w.slot(rng)
	if w.profile.one {
		slot %= tokens
	}
	if !w.writeTo(client, slot, rng) || !thenEvict {
		return
	}
	sel, evicted := selectNames(ids[slot%tokens].Account, ids[slot%tokens].Name), only(version(slot))
	from := w.clock.Add(1)
	if w.profile.one {
		w.group.Evict(context.Background(), sel)
		evicted = w.ofSource(slot)
	} else {
		w.caches[slot/tokens].evict(sel)
	}
	w.record(client, from, input{kind: evict, slots: evicted}, output{})
}

// writeTo reports whether there was a version left.
func (w *world) writeTo(client, slot int, rng *rand.Rand) bool {
	if w.profile.inOrder() {
		w.writing[slot].Lock()
		defer w.writing[slot].Unlock()
	}
	var says saying
	if rng.IntN(4) > 0 {
		says.version = version(w.last[slot].Add(1))
		if says.version >= foreign {
			w.last[slot].Store(foreign - 1)
			return false
		}
		if w.caches[slot/tokens].ends() {
			says.expires, says.grace = w.endTimes(rng)
			says.rotated = !says.grace.IsZero() && w.present[slot] == says.version-1 && says.version > 1
		}
	}
	if w.profile.inOrder() {
		w.present[slot] = says.version
	}
	w.change(client, slot, says)
	return true
}

// ofSource returns the slots that the source of a slot writes.
func (w *world) ofSource(slot int) (set versions) {
	if !w.profile.one {
		return only(version(slot))
	}
	for cache := range w.caches {
		set |= only(version(cache*tokens + slot%tokens))
	}
	return set
}

func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failure = err
}

// change changes a source's answer.
func (w *world) change(client, slot int, says saying) {
	from := w.clock.Add(1)
	w.noteEnding(slot, says, from)
	evicted := w.caches[slot/tokens].change(slot%tokens, says)
	to := w.clock.Add(1)
	add := func(in input) {
		w.add(porcupine.Operation{ClientId: client, Input: in, Call: from, Output: output{}, Return: to})
	}
	add(input{kind: write, slots: w.ofSource(slot), version: says.version, rotated: says.rotated})
	if evicted == 0 {
		return
	}
	for i := range slots { // each cache at an instant of its own
		if w.ofSource(slot)>>i&1 == 1 {
			add(input{kind: evict, slots: evicted << (i / tokens * tokens), after: true, slot: i, version: says.version})
		}
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

// evict evicts in one of the possible ways.
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
	cache := rng.IntN(len(w.caches) + 1) // or all of them
	var m interface {
		evict(...tokencache.Selector)
		clear()
	} = groupOf{w.group}
	var evicted versions
	for i := range w.caches {
		if cache == i || cache == len(w.caches) {
			evicted |= selected << (i * tokens)
		}
	}
	if cache < len(w.caches) {
		m = w.caches[cache]
	}
	from := w.clock.Add(1)
	if sels == nil {
		m.clear()
	} else {
		m.evict(sels...)
	}
	w.record(client, from, input{kind: evict, slots: evicted}, output{})
}

// groupOf makes a group's evictions look like a member's.
type groupOf struct{ *tokencache.Group }

func (g groupOf) evict(sels ...tokencache.Selector) {
	g.Evict(context.Background(), sels...)
}
func (g groupOf) clear() { g.Clear(context.Background()) }
