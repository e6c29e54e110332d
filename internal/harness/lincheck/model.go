// Package lincheck holds svctoken's promises about forgetting against histories:
// it runs random concurrent programs on a group of two caches, through the public
// API, and asks porcupine whether some order of instants explains what was seen.
//
//	go test -C internal/harness/lincheck . -histories 100000
//
// # The model
//
// The state is the pair of caches over a changing source: for each cache and each
// token what its source says now; what its source has said since the token was
// last evicted from that cache; and what the cache remembers, if that is known.
//
//   - A write changes what one source says of one token, at one instant.
//   - An eviction, over any number of tokens and over both caches, is one instant.
//     Afterwards only what the source says from then on counts, and nothing is
//     remembered.
//   - An authentication in one cache is one instant. Where the cache remembers the
//     token, it answers with that. Else it answers with something that the source
//     has said since the last eviction, and remembers a success from then on.
//   - An eviction may come between: the call has found nothing at one instant; an
//     eviction finds its load in flight; at a later instant the call answers with
//     something that the source has said since, and that is not remembered, as the
//     load is off the register.
//   - A token's own expiry is one instant; no authentication succeeds with that
//     version of it afterwards, and one that would have is refused.
//   - Memory comes first: an authentication in the group that a source confirmed has
//     had an instant at which neither cache remembered the token.
//   - A lease lapses at one instant, and is renewed at another: between them there is
//     neither a confirmation nor a refusal.
//   - Close is one instant; no authentication succeeds in that cache afterwards.
//
// Two promises follow from the second and the third. Freshness: once an eviction
// has returned, no authentication that starts afterwards gets a verdict which
// derives from a source read that began before the eviction was called. Atomicity:
// if anybody has seen an eviction's effect in one cache, nobody sees the state
// before it in another.
//
// Expiry, refreshes ahead of it, displacement by the replacement policy, and loads of one name with
// different secrets, make a cache forget, or learn anew, at instants that nobody
// sees. Histories with these are checked by the loose model, in which a cache that
// remembers may always load again. The others are checked by the strict one.
package lincheck

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
)

const (
	caches = 2
	tokens = 3 // two of one account, one of another
	slots  = caches * tokens
)

// A version is what a source says of a token: 0, there is none; else it is there,
// with the secret of that version. The versions of a token are below 16.
type version uint8

// A versions is a set of them.
type versions uint16

func (s versions) has(v version) bool      { return s>>v&1 == 1 }
func (s versions) with(v version) versions { return s | 1<<v }
func (s versions) besides(v version) bool  { return s&^(1<<v) != 0 }
func only(v version) versions              { return 1 << v }

// A state is the model's state. It is comparable.
type state struct {
	says   [slots]version  // what the source says now
	since  [slots]versions // what it has said since the last eviction
	ever   [slots]versions // what it has said at any time
	holds  [slots]version  // what the cache remembers; 0: nothing that is known
	closed [caches]bool
	lapsed bool // the group may not answer

	expired [slots]versions // the versions whose own expiry has come

	missed  [slots]calls // the calls that have found nothing
	evicted calls        // those of them whose loads an eviction has found in flight
}

// A calls is a set of calls of one history.
type calls uint64

func slot(cache, token int) int { return cache*tokens + token }

type kind uint8

const (
	write kind = iota
	evict
	miss // the first of the two instants of an authentication that an eviction comes between
	authenticate
	closeCache
	expire
	forgotten // neither cache remembers the token
	lease     // the group's lease lapses, or is renewed
)

// An input is an operation.
type input struct {
	kind    kind
	slots   versions // evict: the set of slots that it clears
	after   bool     // evict: it follows the write of version to slot, as a source's own does
	slot    int      // write, authenticate, expire; forgotten: that of the token in the first cache
	version version  // write: what the source says; authenticate: whose secret is presented; expire: which expires
	any     bool     // authenticate: all versions have the same secret
	call    calls    // miss, authenticate: the one bit of this call, where an eviction of the slot ran during a part of it
	cache   int      // closeCache
	lapsed  bool     // lease: it lapses
}

// An output is what an authentication returned; other operations return nothing.
type output struct {
	ok      bool
	version version // the version that confirmed it
}

// start is the state in which every token is there, in its first version, and
// nothing is remembered.
func start() state {
	var s state
	for i := range slots {
		s.says[i] = 1
		s.since[i] = only(1)
	}
	return s
}

// step returns the states that an operation may lead to; none: it cannot have had
// this result.
func step(loose bool, s state, in input, out output) []any {
	switch in.kind {
	case write:
		s.says[in.slot] = in.version
		s.since[in.slot] = s.since[in.slot].with(in.version)
		s.ever[in.slot] = s.ever[in.slot].with(in.version)
		return []any{s}
	case evict:
		if in.after && !s.ever[in.slot].has(in.version) {
			return nil
		}
		for i := range slots {
			if in.slots>>i&1 == 1 {
				s.since[i] = only(s.says[i])
				s.holds[i] = 0
				s.evicted |= s.missed[i]
				s.missed[i] = 0
			}
		}
		return []any{s}
	case closeCache:
		s.closed[in.cache] = true
		clear(s.holds[slot(in.cache, 0):slot(in.cache, tokens)])
		return []any{s}
	case lease:
		s.lapsed = in.lapsed
		return []any{s}
	case expire:
		s.expired[in.slot] = s.expired[in.slot].with(in.version)
		return []any{s}
	case forgotten:
		if !loose && (s.holds[in.slot] != 0 || s.holds[in.slot+tokens] != 0) {
			return nil
		}
		return []any{s}
	case miss:
		if s.holds[in.slot] != 0 {
			return []any{s}
		}
		missed := s
		missed.missed[in.slot] |= in.call
		return []any{missed}
	default:
		if s.lapsed || out.ok && (s.closed[in.slot/tokens] || s.expired[in.slot].has(out.version)) {
			return nil
		}
		return authenticated(loose, s, in, out)
	}
}

func authenticated(loose bool, s state, in input, out output) []any {
	var next []any
	held, loaded := s.holds[in.slot], explainedByAny(s.since[in.slot], s.expired[in.slot], in, out)
	if held != 0 && explains(held, in, out) {
		next = append(next, s)
	}
	if s.evicted&in.call != 0 && loaded {
		next = append(next, s)
	}
	if held != 0 && !loose || !loaded {
		return next
	}
	if out.ok {
		remembered := s
		remembered.holds[in.slot] = out.version
		next = append(next, remembered)
	}
	if !out.ok || loose { // nothing to remember, or displaced at once
		next = append(next, s)
	}
	return next
}

// explainedByAny reports whether a token of one of these versions, some of which
// have expired, gives this result.
func explainedByAny(since, expired versions, in input, out output) bool {
	if out.ok {
		return since.has(out.version) && explains(out.version, in, out)
	}
	return since.has(0) || since&expired != 0 || !in.any && since.besides(in.version)
}

// explains reports whether a token of this version gives this result.
func explains(v version, in input, out output) bool {
	if !out.ok {
		return !in.any && v != in.version
	}
	return v == out.version && (in.any || v == in.version)
}

// model returns the porcupine model.
func model(loose bool) porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init:              func() []any { return []any{start()} },
		Step:              func(s, in, out any) []any { return step(loose, s.(state), in.(input), out.(output)) },
		Equal:             func(a, b any) bool { return a.(state) == b.(state) },
		DescribeOperation: func(in, out any) string { return describe(in.(input), out.(output)) },
		DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
	}
	return m.ToModel()
}

var names = [slots]string{"file/a", "file/b", "file/c", "index/a", "index/b", "index/c"}

func describe(in input, out output) string {
	switch in.kind {
	case write:
		return fmt.Sprintf("write %s: version %d", names[in.slot], in.version)
	case evict:
		var selected []string
		for i, name := range names {
			if in.slots>>i&1 == 1 {
				selected = append(selected, name)
			}
		}
		return "evict " + strings.Join(selected, " ")
	case closeCache:
		return fmt.Sprintf("close cache %d", in.cache)
	case lease:
		return fmt.Sprintf("lease, lapsed %v", in.lapsed)
	case expire:
		return fmt.Sprintf("%s expires, version %d", names[in.slot], in.version)
	case forgotten:
		return "neither cache remembers " + names[in.slot]
	case miss:
		return names[in.slot] + ": nothing"
	default:
		secret := fmt.Sprintf("secret %d", in.version)
		if in.any {
			secret = "the secret"
		}
		if !out.ok {
			return fmt.Sprintf("%s with %s: refused", names[in.slot], secret)
		}
		return fmt.Sprintf("%s with %s: version %d", names[in.slot], secret, out.version)
	}
}
