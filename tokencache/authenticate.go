package tokencache

import (
	"context"
	"errors"
	"hash/maphash"
	"strings"
)

// A Verdict is a success: the token was presented with its secret.
type Verdict[R any] struct {
	Token  TokenID // whose token it is
	Cache  string  // the name of the cache that confirmed it, and so of its source
	Record R       // what the source knows of it; shared, so not to be changed

	FromMemory bool // whether the cache remembered it; else the source was asked
	Stale      bool // whether it is past its time, and the source does not answer: see Config.ServeStale
}

// Authenticate answers for the value of an Authorization header, "Bearer" and the
// token. The first cache that remembers the token with this secret answers, in the
// order in which the caches were added; where none does, the sources are asked in
// that order, and the first that confirms the token ends it. So does the first that
// cannot answer: the next source is not asked. A cache whose memory refuses the
// token (it holds another secret for the name, or remembers that there is no such
// name) does not ask its source.
//
// The error wraps [ErrNotServiceToken] where the value is not a service token, so
// that the host can go on to its other schemes. It is a [*RefusedError], which
// wraps [ErrRefused], where no source confirms the token: answer 401. In all other
// cases it is a [*NoAnswerError], and the token is neither confirmed nor refused:
// answer 503.
//
// A token that moves from one source to another is confirmed all the while, if the
// source that gains it tells its caches before the other loses it, and does not
// move more than three times during the call.
//
// The context bounds how long the call waits. It must not be nil. A hit never
// waits, and ignores it.
func (g *Group) Authenticate(ctx context.Context, authorization string) (v Verdict[any], err error) {
	err = g.authenticate(ctx, nil, authorization, &v)
	return v, err
}

// AuthenticateToken is [Group.Authenticate] for a token that has been parsed.
func (g *Group) AuthenticateToken(ctx context.Context, token Token) (v Verdict[any], err error) {
	err = g.authenticateToken(ctx, nil, token, &v)
	return v, err
}

// Authenticate is [Group.Authenticate] for this cache alone, with the record in
// its own type.
func (c *Cache[R]) Authenticate(ctx context.Context, authorization string) (Verdict[R], error) {
	var v Verdict[any]
	err := c.store.group.authenticate(ctx, c.store, authorization, &v)
	return typed[R](&v), err
}

// AuthenticateToken is [Cache.Authenticate] for a token that has been parsed.
func (c *Cache[R]) AuthenticateToken(ctx context.Context, token Token) (Verdict[R], error) {
	var v Verdict[any]
	err := c.store.group.authenticateToken(ctx, c.store, token, &v)
	return typed[R](&v), err
}

// typed returns the verdict with its record's own type. The zero verdict, beside an
// error, stays zero.
func typed[R any](v *Verdict[any]) Verdict[R] {
	record, _ := v.Record.(R) // fails for a nil interface only
	return Verdict[R]{v.Token, v.Cache, record, v.FromMemory, v.Stale}
}

// authenticate sets the verdict, or returns why there is none. Like what it calls,
// it takes the verdict by reference: eleven words, copied at each return, are seen
// in a hit's time. A nil only: all caches.
func (g *Group) authenticate(ctx context.Context, only *store, authorization string, v *Verdict[any]) error {
	bearer, ok := cutScheme(authorization)
	if !ok {
		return g.reject(errScheme)
	}
	if len(bearer) <= g.maxBearer {
		if done, err := g.fromMemory(only, bearer, v); done {
			return err
		}
	}
	return g.authenticateBearer(ctx, only, bearer, v)
}

// fromMemory reports whether memory suffices for an answer.
func (g *Group) fromMemory(only *store, bearer string, v *Verdict[any]) (done bool, err error) {
	return g.answer(g.remember(only, bearer, v), v)
}

func (g *Group) answer(r recall, v *Verdict[any]) (done bool, err error) {
	if r == confirmed {
		return true, nil
	}
	if r == unknown {
		return false, nil
	}
	id := v.Token
	v.Token = TokenID{}
	return true, g.refuse(id, [...]Reason{mismatch: ReasonWrongSecret, absence: ReasonUnknownToken, strange: ReasonUnknownAccount}[r])
}

// authenticateBearer is authenticate for a bearer that has to be decoded.
func (g *Group) authenticateBearer(ctx context.Context, only *store, bearer string, v *Verdict[any]) error {
	a := attempt{only: only}
	if err := g.parse(&a, bearer); err != nil {
		return err
	}
	done, err := g.answer(g.recall(only, &a.query, v), v)
	if !done {
		err = g.load(ctx, &a, v)
	}
	g.wipe(&a)
	return err
}

// wipe overwrites the secret that was decoded, or leaves that to the load which still
// uses it.
func (g *Group) wipe(a *attempt) {
	if a.lent == nil {
		clear(a.token.secret.bytes())
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	a.lent.leaveSecretLocked()
}

// parse decodes the bearer.
func (g *Group) parse(a *attempt, bearer string) error {
	if len(bearer) > g.maxBearer && strings.HasPrefix(bearer, encodedPrefix) {
		return g.refuse(TokenID{}, ReasonSecretLength)
	}
	token, err := ParseBearer(bearer)
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return g.refuse(refused.Token, refused.Reason)
	}
	if err != nil {
		return g.reject(err)
	}
	if token.secret.Len() > g.maxSecret {
		clear(token.secret.bytes())
		return g.refuse(token.id, ReasonSecretLength)
	}
	a.token = token
	unpadded, _ := trimPadding(bearer)
	cut := sextets(len(bearerPrefix) + token.id.length() + len(":"))
	a.query = query{bearer: unpadded, cut: cut, digested: true}
	a.query.hash = uint32(maphash.String(g.seed, unpadded[:cut]))
	digestTail(g, &a.query.digest, unpadded[cut:])
	return nil
}

func (g *Group) authenticateToken(ctx context.Context, only *store, token Token, v *Verdict[any]) error {
	if n := token.secret.Len(); n < minSecret || n > g.maxSecret {
		return g.refuse(token.id, ReasonSecretLength)
	}
	a := attempt{only: only, token: token, query: g.newQuery(&token)}
	if done, err := g.answer(g.recall(only, &a.query, v), v); done {
		return err
	}
	return g.load(ctx, &a, v)
}

// An attempt is one authentication on its way through the caches.
type attempt struct {
	token Token
	query query
	only  *store // nil: all

	next    int    // the index of the next store whose source may be asked
	absent  uint64 // the stores whose sources say at once that they do not hold the token
	reason  Reason // why the stores before next have refused
	changes uint64 // of the sources, when the round began
	rounds  int
	lent    *load // the load that has the token's secret, and may be running; nil: none
	ended   error
}

// maxRounds is how often the sources are asked, where they have changed between
// the first refusal and the last: a token that has moved meanwhile would have been
// refused by each of them.
const maxRounds = 4

// load asks the caches under the mutex, and waits for loads. It waits in this frame,
// close to the caller's: thousands may wait, and deep stacks have to be grown first.
func (g *Group) load(ctx context.Context, a *attempt, v *Verdict[any]) error {
	if ctx == nil {
		panic("tokencache: the context is nil") // before anything is taken
	}
	if g.known != nil && !g.known(a.token.id.Account) {
		return g.refuse(a.token.id, ReasonUnknownAccount)
	}
	for {
		l, err := g.step(ctx, a, v)
		if l == nil {
			return err
		}
		if done := ctx.Done(); done == nil {
			<-l.done
		} else {
			select {
			case <-l.done:
			case <-done:
				return g.giveUp(ctx, a, l)
			}
		}
		if done, err := g.take(ctx, a, l, v); done {
			return err
		}
	}
}

// step looks at what the caches remember, and at what their sources are being asked.
// It sets the verdict, returns an error, or a load to wait for.
func (g *Group) step(ctx context.Context, a *attempt, v *Verdict[any]) (*load, error) {
	var l *load
	var noAnswer *NoAnswerError
	for again := true; again; {
		stores := *g.stores.Load()
		if a.next == 0 {
			a.changes = g.changes.Load() // before any source says anything
		}
		a.askHolders(stores) // foreign code, like the next line, so not under the mutex
		a.ended = ctx.Err()
		g.mu.Lock()
		l, noAnswer = g.stepLocked(ctx, stores, a, v)
		again = l == nil && noAnswer == nil && v.Cache == "" && a.againLocked(g)
		g.mu.Unlock()
	}
	switch {
	case l != nil:
		return l, nil
	case noAnswer != nil:
		return nil, g.fail(ctx, noAnswer)
	case v.Cache != "":
		return nil, nil
	default:
		return nil, g.refuse(a.token.id, a.reason)
	}
}

// askHolders asks the sources that can say at once that they do not hold the token.
func (a *attempt) askHolders(stores []*store) {
	a.absent = 0
	for _, s := range stores {
		if (a.only == nil || a.only == s) && s.index >= a.next && s.holder != nil && !s.hideNames && !s.holder.MayHold(a.token.id) {
			a.absent |= s.bit()
		}
	}
}

// againLocked reports whether all caches are to be asked once more, now that each
// has refused the token: a source has changed since the first was asked.
func (a *attempt) againLocked(g *Group) bool {
	a.rounds++
	if a.only != nil || len(*g.stores.Load()) == 1 || a.rounds >= maxRounds || g.changes.Load() == a.changes {
		return false
	}
	a.next = 0
	return true
}

func (g *Group) stepLocked(ctx context.Context, stores []*store, a *attempt, v *Verdict[any]) (*load, *NoAnswerError) {
	if err := g.unableLocked(stores, a); err != nil {
		return nil, err
	}
	if g.recallLocked(stores, a, v) {
		return nil, nil
	}
	if a.next == 0 {
		a.reason = ReasonUnknownToken
	}
	for ; a.next < len(stores); a.next++ {
		s := stores[a.next]
		if a.only != nil && s != a.only {
			continue
		}
		l, err := s.askLocked(ctx, a, v)
		if l != nil || err != nil || v.Cache != "" {
			return l, err
		}
	}
	return nil, nil
}

// unableLocked returns why the group cannot answer at all, or nil.
func (g *Group) unableLocked(stores []*store, a *attempt) *NoAnswerError {
	switch {
	case g.closedLocked():
		return &NoAnswerError{Token: a.token.id, Reason: ReasonClosed}
	case len(stores) == 0:
		return &NoAnswerError{Token: a.token.id, Reason: ReasonUnavailable, Err: errNoCaches}
	case g.lapsed():
		return &NoAnswerError{Token: a.token.id, Reason: ReasonLapsed}
	default:
		return nil
	}
}

// recallLocked sets the verdict if one of the caches remembers it.
func (g *Group) recallLocked(stores []*store, a *attempt, v *Verdict[any]) bool {
	for _, s := range stores {
		if a.only != nil && s != a.only {
			continue
		}
		e := s.findSecretLocked(&a.query, a.token.id)
		if e != nil && !g.clock.passed(e.expires) {
			s.hits.hit()
			e.state.Or(used)
			*v = Verdict[any]{Token: a.token.id, Cache: s.name, Record: e.record, FromMemory: true}
			return true
		}
	}
	return false
}

// askLocked has the store refuse the token from memory, with no result at all, or
// returns the load to wait for, or why there is none.
func (s *store) askLocked(ctx context.Context, a *attempt, v *Verdict[any]) (*load, *NoAnswerError) {
	id := a.token.id
	if s.closed.Load() {
		return nil, s.noAnswer(id, ReasonClosed, nil)
	}
	if s.refusesLocked(a) {
		return nil, nil
	}
	if a.absent&s.bit() != 0 {
		return nil, nil
	}
	if a.ended != nil {
		return nil, s.noAnswer(id, ReasonGaveUp, a.ended)
	}
	l, err := s.obtainLocked(ctx, &a.token, &a.query, false)
	if err != nil {
		if s.staleLocked(a, v) {
			return nil, nil
		}
		return nil, err
	}
	l.waiters++
	s.stats.Misses++
	if l.token.secret.is(a.token.secret) {
		a.lent = l
	}
	return l, nil
}

// refusesLocked reports whether memory refuses the token. No entry confirms it.
func (s *store) refusesLocked(a *attempt) bool {
	g, id, roles := s.group, a.token.id, uint8(0)
	now := g.clock.now()
	for e := s.findLocked(a.query.hash, id); e != nil; e = s.nextLocked(e, id) {
		switch {
		case e.expires > now && e.absent:
			s.hits.absent()
			return true
		case e.expires > now && !s.hideNames:
			roles |= 1 << e.role
		case e.expiredLocked(now):
			g.expireLocked(e)
		}
	}
	if !refuses(roles) {
		return false
	}
	s.hits.mismatch()
	a.reason = max(a.reason, ReasonWrongSecret)
	return true
}

// take takes what came of a load, and reports whether that ends the attempt. Where it
// was an error, memory may have an answer by now: that of a load which began later.
func (g *Group) take(ctx context.Context, a *attempt, l *load, v *Verdict[any]) (done bool, err error) {
	s, out := l.store, &l.out
	switch {
	case out.confirmed:
		*v = Verdict[any]{Token: a.token.id, Cache: s.name, Record: out.record}
		g.outcomes.confirmed()
		a.lent = nil
		return true, nil
	case out.err == nil:
		a.reason = max(a.reason, out.reason)
		a.lent = nil
		a.next++
		return false, nil
	}
	g.mu.Lock()
	remembered := !g.lapsed() && (g.recallLocked(*g.stores.Load(), a, v) || s.staleLocked(a, v))
	g.mu.Unlock()
	if remembered {
		return true, nil
	}
	return true, g.fail(ctx, out.err)
}

// giveUp ends an attempt whose caller does not wait any more.
func (g *Group) giveUp(ctx context.Context, a *attempt, l *load) error {
	l.abandon()
	return g.fail(ctx, l.store.noAnswer(a.token.id, ReasonGaveUp, ctx.Err()))
}

// reject counts a credential that is not a service token.
func (g *Group) reject(err error) error {
	g.outcomes.rejected()
	return err
}

// refuse counts a refusal.
func (g *Group) refuse(id TokenID, reason Reason) error {
	g.outcomes.refused()
	return &RefusedError{Token: id, Reason: reason}
}

// fail counts an authentication without an answer, and tells the observer where it
// was turned away.
func (g *Group) fail(ctx context.Context, err *NoAnswerError) error {
	g.outcomes.failed(err.Reason)
	if g.observer != nil && (err.Reason == ReasonOverloaded || err.Reason == ReasonUnavailable) {
		g.observer(context.WithoutCancel(ctx), Event{Kind: EventOverload, Cache: err.Cache, Token: err.Token, Reason: err.Reason, Err: err})
	}
	return err
}

// refreshAhead loads an entry again that is in use and expires soon, once. The
// moment is spread by the entry's share of the jitter.
func (s *store) refreshAhead(e *entry, q *query) {
	g := s.group
	early := s.refresh - s.refresh/(4*255)*int64(e.step)
	if e.mortal || e.state.Load()&refreshing != 0 || g.clock.now() < e.expires-early {
		return
	}
	if e.state.Or(refreshing)&refreshing != 0 {
		return // another hit was first
	}
	token, err := ParseBearer(q.bearer)
	if err != nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if e.live() && !s.closed.Load() {
		if l, _ := s.obtainLocked(context.Background(), &token, q, true); l != nil && l.token.secret.is(token.secret) {
			l.leaveSecretLocked()
			return
		}
	}
	clear(token.secret.bytes())
}
