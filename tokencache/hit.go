package tokencache

import (
	"encoding/base64"
	"math"
	"strings"
)

// This file is the way of a hit, from the bearer to the verdict. It takes no lock
// and allocates nothing.
//
// A hit decodes no base64. Canonical base64 is a bijection, so comparing its characters
// compares the bytes that they encode. The first characters of a bearer, its head, depend
// on nothing but the prefix, the qualified name and the colon; the others, its tail, on
// nothing but the secret and how long the name is. An entry keeps the characters of its
// head, and the digest of its tail.
//
// Where the head ends follows from how long the secret is. That is not known beforehand,
// so a hit tries the lengths of the secrets that are remembered, the most common first;
// there are one or two in practice. What a wrong length finds is still right, as head and
// tail account for every character. A bearer that no length finds is decoded, and looked
// for again.

// A recall says what the caches remember of a bearer: one of the constants, or a Reason
// for which memory refuses it without asking a source.
type recall int

const (
	confirmed recall = -1 // one of them confirms it; the verdict is set
	unknown   recall = 0  // not enough: the caches have to be asked under the mutex
)

// remember looks for the bearer in the memory of all caches, or in only's. The
// first cache that confirms it, in the order of New, sets the verdict. For a
// refusal the verdict gets the token's id.
func (g *Group) remember(only *store, bearer string, v *Verdict[any]) recall {
	if !strings.HasPrefix(bearer, encodedPrefix) {
		return unknown
	}
	if bearer[len(bearer)-1] == '=' {
		var ok bool
		if bearer, ok = trimPadding(bearer); !ok {
			return unknown
		}
	}
	size := len(bearer) * 6 / 8
	for _, length := range *g.memory.lengths.common.Load() {
		if size-length < minPlain {
			continue
		}
		q := query{bearer: bearer, cut: sextets(size - length)}
		q.hash = g.memory.keys.hashHead(bearer[:q.cut])
		if r := g.recall(only, &q, v); r != unknown {
			return r
		}
	}
	return unknown
}

// minPlain is the length of the shortest prefix, qualified name and colon.
const minPlain = len(bearerPrefix) + len("a/b/c") + len(":")

// recall looks the query up.
func (g *Group) recall(only *store, q *query, v *Verdict[any]) recall {
	e, known := g.find(only, q, v)
	switch {
	case !known:
		return recall(ReasonUnknownAccount)
	case e != nil:
		return g.hit(e, q, v)
	case g.hidesNames(only):
		q.digestOnce(g) // as if there were an entry of that name
		return unknown
	default:
		return g.recallRefusal(only, q, v)
	}
}

// hidesNames reports whether one of the caches hides names. Memory then refuses nothing,
// and takes as long for a name that it has as for one that it does not have.
func (g *Group) hidesNames(only *store) bool {
	for _, s := range g.caches() {
		if s.shelf.hidden && (only == nil || s == only) {
			return true
		}
	}
	return false
}

// find returns the entry that confirms the query, of the first cache that has one;
// nil: none does. If the host does not know the account, it sets the verdict's token,
// and says so.
func (g *Group) find(only *store, q *query, v *Verdict[any]) (found *entry, known bool) {
	index, b := math.MaxInt, g.memory.table.Load().bucket(q.hash)
	slots := b.match(q.hash)
	if slots != 0 && b.in(slots) != nil { // the tag of an entry that has gone stays
		q.digestOnce(g) // while the processor fetches the entry
	}
	// A cursor goes the same way, at the price of a call for each step.
	for {
		for ; slots != 0; slots &= slots - 1 {
			e := b.in(slots)
			if e == nil || e.hash != q.hash || e.refuses() {
				continue
			}
			owner := e.owner.Load()
			s := owner.epoch.shelf
			if only != nil && s != only.shelf || !e.is(owner, q) || g.memory.clock.passed(e.good) {
				continue
			}
			if g.known != nil && !g.known(owner.account) {
				v.Token = TokenID{owner.account, e.name()}
				return nil, false
			}
			if s.index < index && e.confirms(g, q) {
				found, index = e, s.index
			}
			if index == 0 {
				return found, true // none comes before it
			}
		}
		if b = b.further.Load(); b == nil {
			return found, true
		}
		slots = b.match(q.hash)
	}
}

// A finding is what the entries of a name say of a query that none of them confirms: in
// each role, which of the first 64 caches have a live one.
type finding struct {
	named TokenID // the name; zero: no entry has it
	has   [roles]uint64
}

// mismatched returns the caches that remember every good secret of the name.
func (f *finding) mismatched() uint64 { return f.has[sole] | f.has[present]&f.has[previous] }

// refused returns the caches that refuse the name.
func (f *finding) refused() uint64 { return f.has[absent] | f.has[disabled] | f.has[expired] }

// reason returns the reason for the refusal. If several caches refuse, it is the one that
// says most.
func (f *finding) reason() Reason {
	reason := ReasonUnknownToken
	if f.mismatched() != 0 {
		reason = ReasonWrongSecret
	}
	for role, caches := range f.has {
		if caches != 0 {
			reason = max(reason, refusals[role])
		}
	}
	return reason
}

// recallRefusal looks whether memory suffices to refuse the query.
func (g *Group) recallRefusal(only *store, q *query, v *Verdict[any]) recall {
	changes := g.memory.changes.Load()
	var f finding
	at := g.memory.table.Load().at(q.hash)
	for e := at.next(); e != nil; e = at.next() {
		owner := e.owner.Load()
		s := owner.epoch.shelf
		if only != nil && s != only.shelf || !e.is(owner, q) || g.memory.clock.passed(e.good) {
			continue
		}
		if f.named.Name == "" {
			f.named = TokenID{owner.account, e.name()}
			if g.known != nil && !g.known(owner.account) { // before the look at the marks
				v.Token = f.named
				return recall(ReasonUnknownAccount)
			}
		}
		if !e.refuses() && e.confirms(g, q) {
			return unknown // it has come since find looked, or an eviction has marked it
		}
		if e.live() {
			f.has[e.role] |= s.bit()
		}
	}
	mismatched, refused := f.mismatched(), f.refused()
	if mismatched|refused == 0 || !q.wellFormed() || !g.mayRefuse(only, &f) || g.memory.changes.Load() != changes {
		return unknown
	}
	for _, s := range g.caches() {
		switch bit := s.shelf.bit(); {
		case mismatched&bit != 0:
			s.shelf.hits.mismatch()
		case refused&bit != 0:
			s.shelf.hits.refusal()
		}
	}
	v.Token = f.named
	return recall(f.reason())
}

// confirms reports whether the query's secret is the entry's.
func (e *entry) confirms(g *Group, q *query) bool {
	q.digestOnce(g)
	return e.digest.equal(&q.digest)
}

func (q *query) digestOnce(g *Group) {
	if !q.digested {
		g.memory.keys.digestTail(&q.digest, q.bearer[q.cut:])
		q.digested = true
	}
}

// mayRefuse reports whether a query that no cache confirms may be refused without
// asking a source: each cache has an entry of the name, or a source that says at
// once that it does not hold it.
func (g *Group) mayRefuse(only *store, f *finding) bool {
	known := f.mismatched() | f.refused()
	for _, s := range g.caches() {
		bit := s.shelf.bit()
		switch {
		case only != nil && s != only:
		case known&bit != 0:
		case bit == 0, s.shelf.closed.Load(), s.holder == nil, s.holder.MayHold(f.named):
			return false
		}
	}
	return !g.lapsed()
}

// is reports whether the entry, of that owner, has the query's head.
func (e *entry) is(owner *cell, q *query) bool {
	head, rest := owner.head, e.rest()
	return strings.HasPrefix(q.bearer[:q.cut], head) && q.bearer[len(head):q.cut] == rest
}

// hit makes the verdict of an entry that confirms the query, if it may leave.
func (g *Group) hit(e *entry, q *query, v *Verdict[any]) recall {
	owner := e.owner.Load()
	s := owner.epoch.shelf
	if s == nil || g.withhold(e.good, e, nil) != 0 {
		return unknown
	}
	if s.hits.hit()%hitsPerReading == 0 {
		g.memory.clock.noteLate()
	}
	noted := g.memory.clock.noted.Load()
	e.use(lapOf(noted))
	if s.refresh > 0 && e.good-s.refresh <= noted {
		g.refreshAhead(e, q)
	}
	v.Token.Account, v.Token.Name = owner.account, e.name()
	v.Cache, v.Record, v.FromMemory = s.name, e.record, true
	return confirmed
}

// withhold is the one exit of all verdicts: it returns why a verdict may not leave now,
// or 0. It looks last at the lease, at the clock reading at which the verdict expires,
// and at the mark of the entry. A verdict without an entry is a load's, and is for
// callers that came before it expires.
func (g *Group) withhold(ends int64, e *entry, a *attempt) Reason {
	switch {
	case g.lapsed():
		return ReasonLapsed
	case e != nil && g.memory.clock.passed(ends), e == nil && ends <= a.came:
		return ReasonExpired
	case e != nil && !e.live():
		return ReasonUnavailable // evicted: whatever it is now, it has to be loaded
	default:
		return 0
	}
}

// newQuery returns the query for a token.
func (g *Group) newQuery(token *Token) query {
	plain := token.id.append(append(make([]byte, 0, stackBuffer), bearerPrefix...))
	plain = append(plain, ':')
	size := len(plain)
	plain = append(plain, token.secret.bytes()...)
	q := query{bearer: base64.RawStdEncoding.EncodeToString(plain), cut: sextets(size), digested: true}
	clear(plain)
	q.hash = g.memory.keys.hashHead(q.bearer[:q.cut])
	g.memory.keys.digestTail(&q.digest, q.bearer[q.cut:])
	return q
}
