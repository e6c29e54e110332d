// Package lincheck holds svctoken's promises about forgetting against histories:
// it runs random concurrent programs on a group of two caches or three, through the
// public API, and asks porcupine whether some order of instants explains what was seen.
//
//	go test -C internal/harness/lincheck . -histories 100000
//
// # The model
//
// The state is the caches over changing sources: for each cache and each
// token what its source says now; what its source has said since the token was
// last evicted from that cache; and what the cache remembers, if that is known.
//
//   - A write changes what one source says of one token, at one instant, for all the
//     caches of that source.
//   - An eviction, over any number of tokens and over all caches, is one instant.
//     Afterwards only what the source says from then on counts, and nothing is
//     remembered.
//   - An authentication in one cache is one instant. If the cache remembers the token, it answers with that. Otherwise it answers with something that the source has said since the last eviction, and remembers a success from then on.
//   - An eviction may come between: the call has found nothing at one instant; an
//     eviction finds its load in flight; at a later instant the call answers with
//     something that the source has said since, and that is not remembered, as the
//     load is off the register.
//   - A token's own expiry is one instant; no authentication succeeds with that
//     version of it afterwards, and one that would have is refused. If the wall clock is
//     set back before that instant, loads succeed with it again, also those that have
//     read it before; as caches go by a clock that is not set back, they may refuse it, too.
//   - A rotated token has two good secrets until its grace ends, which is an instant
//     like an expiry.
//   - The later read wins: if each write of a token ends before the next one begins,
//     nobody gets an older answer of a source than somebody has got already. This holds for
//     names with one secret; of two, each stays for its time until an eviction.
//   - Memory comes first: an authentication in the group that a source confirmed has
//     had an instant at which no cache remembered the token.
//   - A lease lapses at one instant, and is renewed at another: between them there is
//     neither a confirmation nor a refusal. If it is renewed while a call is under way,
//     the answer may be of an instant without a lease; the call has a later instant with
//     one, at which the answer leaves.
//   - Close is one instant; no authentication succeeds in that cache afterwards.
//
// Two promises follow from the second and the third. Freshness: once an eviction
// has returned, no authentication that starts afterwards gets a verdict which
// derives from a source read that began before the eviction was called. Atomicity:
// if anybody has seen an eviction's effect in one cache, nobody sees the state
// before it in another.
//
// Expiry, refreshes ahead of it, displacement by the replacement policy, and loads of
// one name with different secrets, make a cache forget, or learn anew, at instants that
// nobody sees. Histories with these are checked by the loose model, in which a cache
// that remembers may always load again. The others are checked by the strict one.
package lincheck

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
)

const (
	caches = 3 // most histories have two
	tokens = 3 // two of one account, one of another
	slots  = caches * tokens
)

// A version is a source's answer about a token. 0: there is none; otherwise it has the
// secret of that version. The versions of a token are below 16.
type version uint8

// A versions is a set of versions.
type versions uint16

func (s versions) has(v version) bool      { return s>>v&1 == 1 }
func (s versions) with(v version) versions { return s | 1<<v }
func only(v version) versions              { return 1 << v }

// A state is the model's state. It is comparable.
type state struct {
	says   [slots]version  // what the source says now
	since  [slots]versions // what it has said since the last eviction
	ever   [slots]versions // what it has said at any time
	holds  [slots]version  // what the cache remembers; 0: nothing, or unknown
	closed [caches]bool
	lapsed bool // the group may not answer

	rotated [slots]versions // the versions with which the previous version's secret is good, too
	newest  [slots]version  // the newest that a source must have said, by what was confirmed
	token   [slots]ends     // the versions' own expiry
	grace   [slots]ends     // the ends of the graces of those that are rotated

	missed  [slots]calls // the calls that have found nothing
	evicted calls        // those of them whose loads an eviction has found in flight

	answered calls // the calls whose answer has yet to leave, or has left
}

// An ends says which versions have ended by themselves.
type ends struct {
	over versions // those that must not be confirmed any more
	due  versions // those that may be refused
}

// A calls is a set of calls of one history.
type calls uint64

func slot(cache, token int) int { return cache*tokens + token }

type kind uint8

const (
	write kind = iota
	evict
	miss // the first of the two instants of an authentication that has an eviction in between
	authenticate
	closeCache
	end
	forgotten // no cache remembers the token
	leave     // the last instant of an authentication during which the lease was renewed
	lease     // the group's lease lapses, or is renewed
)

// An ending says what an end does.
type ending uint8

const (
	ended   ending = iota // by the wall clock
	dueOnly               // by the clock of a cache, which may be ahead of the wall clock
	revived               // the wall clock was set back
)

// An input is an operation.
type input struct {
	kind    kind
	slots   versions // evict: the set of slots that it clears; write: those of the caches of the source
	after   bool     // evict: it follows the write of version to slot, as a source's own does
	slot    int      // authenticate, end; forgotten: that of the token in the first cache
	version version  // write: what the source says; authenticate: whose secret is presented; end: of which
	rotated bool     // write: the secret of the version before stays good
	grace   bool     // end: of the grace of the version, and not of the version
	ending  ending   // end
	any     bool     // authenticate: all versions have the same secret
	ordered bool     // authenticate: each write of the token ends before the next one begins
	call    calls    // miss, authenticate, leave: the one bit of this call, if it has several instants
	revived versions // authenticate: that the wall clock has been set back before the end of, meanwhile
	leaves  bool     // authenticate: its answer leaves at a later instant
	cache   int      // closeCache
	lapsed  bool     // lease: it lapses
}

// An output is the result of an authentication; other operations have none.
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

// step returns the states that an operation may lead to. If there are none, it cannot
// have had this result.
func step(loose bool, s state, in input, out output) []any {
	switch in.kind {
	case write:
		for i := range slots {
			if in.slots>>i&1 == 1 {
				s.says[i] = in.version
				s.since[i] = s.since[i].with(in.version)
				s.ever[i] = s.ever[i].with(in.version)
				if in.rotated {
					s.rotated[i] = s.rotated[i].with(in.version)
				}
			}
		}
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
	case end:
		of := &s.token[in.slot]
		if in.grace {
			of = &s.grace[in.slot]
		}
		of.end(in.version, in.ending)
		return []any{s}
	case forgotten:
		for cache := range caches {
			if !loose && s.holds[slot(cache, in.slot)] != 0 {
				return nil
			}
		}
		return []any{s}
	case miss:
		if s.holds[in.slot] != 0 {
			return []any{s}
		}
		missed := s
		missed.missed[in.slot] |= in.call
		return []any{missed}
	case leave:
		if s.lapsed || s.answered&in.call == 0 {
			return nil
		}
		return []any{s}
	default:
		if s.lapsed && !in.leaves || out.ok && s.closed[in.slot/tokens] {
			return nil
		}
		if in.leaves {
			s.answered |= in.call
		}
		return authenticated(loose, s, in, out)
	}
}

// end applies the end of a version.
func (e *ends) end(v version, how ending) {
	switch how {
	case ended:
		e.over, e.due = e.over.with(v), e.due.with(v)
	case dueOnly:
		e.due = e.due.with(v)
	default:
		e.over &^= only(v)
	}
}

func authenticated(loose bool, s state, in input, out output) []any {
	var next []any
	held, loaded := s.holds[in.slot], s.explainedByAny(in, out)
	remembers := held != 0 && explains(held, in, out) && (!out.ok || s.mayConfirm(in, held, true))
	if out.ok && in.ordered {
		s.newest[in.slot] = max(s.newest[in.slot], out.version)
	}
	if remembers {
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

// explainedByAny reports whether something that the source has said of the token since its
// last eviction gives this result.
func (s *state) explainedByAny(in input, out output) bool {
	since, v := s.since[in.slot], out.version
	if out.ok {
		return s.mayConfirm(in, v, true) && explains(v, in, out) || s.mayConfirm(in, v+1, false)
	}
	for v := version(0); v <= foreign; v++ {
		if since.has(v) && s.mayRefuse(in, v) {
			return true
		}
	}
	return false
}

// mayConfirm reports whether the source has said this version, and whether its present
// secret is good with it, or its previous one.
func (s *state) mayConfirm(in input, v version, present bool) bool {
	switch {
	case v > foreign || !s.since[in.slot].has(v) || (s.token[in.slot].over &^ in.revived).has(v) || in.ordered && v < s.newest[in.slot]:
		return false
	default:
		return present || s.rotated[in.slot].has(v) && !(s.grace[in.slot].over&^in.revived).has(v)
	}
}

// mayRefuse reports whether this version, which the source has said, refuses the secret
// that is presented.
func (s *state) mayRefuse(in input, v version) bool {
	switch {
	case v == 0 || s.token[in.slot].due.has(v):
		return true
	case in.any || v == in.version:
		return false
	default:
		return v != in.version+1 || !s.rotated[in.slot].has(v) || s.grace[in.slot].due.has(v)
	}
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

// nameOf returns a name for a slot.
func nameOf(slot int) string { return cacheNames[slot/tokens] + "/" + string(rune('a'+slot%tokens)) }

// namesOf returns names for a set of slots.
func namesOf(set versions) string {
	var names []string
	for i := range slots {
		if set>>i&1 == 1 {
			names = append(names, nameOf(i))
		}
	}
	return strings.Join(names, " ")
}

func describe(in input, out output) string {
	switch in.kind {
	case write:
		return fmt.Sprintf("write %s: version %d, rotated %v", namesOf(in.slots), in.version, in.rotated)
	case evict:
		return "evict " + namesOf(in.slots)
	case closeCache:
		return fmt.Sprintf("close cache %d", in.cache)
	case lease:
		return fmt.Sprintf("lease, lapsed %v", in.lapsed)
	case end:
		return fmt.Sprintf("%s, version %d: %s, of its grace %v", nameOf(in.slot), in.version, [...]string{"over", "due", "revived"}[in.ending], in.grace)
	case forgotten:
		return "no cache remembers " + nameOf(in.slot)
	case miss:
		return nameOf(in.slot) + ": nothing"
	case leave:
		return nameOf(in.slot) + ": the answer leaves"
	default:
		secret := fmt.Sprintf("secret %d", in.version)
		if in.any {
			secret = "the secret"
		}
		if !out.ok {
			return fmt.Sprintf("%s with %s: refused", nameOf(in.slot), secret)
		}
		return fmt.Sprintf("%s with %s: version %d", nameOf(in.slot), secret, out.version)
	}
}
