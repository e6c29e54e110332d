package tokencache

import (
	"context"
	"errors"
	"time"
)

// An attempt is one authentication that memory alone has not answered, on its way
// through the caches and their sources. This file follows it.
type attempt struct {
	token Token
	query query
	only  *store // nil: all

	next   int    // the index of the next store whose source may be asked
	absent uint64 // the stores whose sources say at once that they do not hold the token
	reason Reason // why the stores before next have refused
	rounds int
	since  uint64        // in a further round: only stores that have changed after this change are asked
	change uint64        // the last change when the round began
	wait   time.Duration // how long to wait for the load before memory may give a stale answer; 0: till its end
	lent   *load         // the load that has the token's secret, and may be running; nil: none
	came   int64         // clock reading: when memory was first read for the caller
	ended  error
}

// maxRounds is how often the sources are asked, if they have changed between the first
// refusal and the last: a token that has moved meanwhile would have been refused by each
// of them.
const maxRounds = 4

// load asks the caches under the mutex, and waits for loads. It waits here, near the top
// of the stack: with thousands waiting, a deeper frame would make each of them grow its
// stack.
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
		late, stop := a.timer()
		for waits := true; waits; {
			if late == nil && ctx.Done() == nil {
				<-l.done
				break
			}
			select {
			case <-l.done:
				waits = false
			case <-ctx.Done():
				stop()
				return g.giveUp(ctx, a, l, v)
			case <-late:
				if g.stale(l.store, a, v) {
					l.detach()
					return nil
				}
			}
		}
		stop()
		if done, err := g.take(ctx, a, l, v); done {
			return err
		}
	}
}

// timer returns a channel that says when a stale answer will do; nil: never.
func (a *attempt) timer() (<-chan time.Time, func()) {
	if a.wait <= 0 {
		return nil, func() {}
	}
	timer := time.NewTimer(a.wait)
	return timer.C, func() { timer.Stop() }
}

// step looks at the caches' entries and at the running loads. It sets the verdict, or
// returns an error or a load to wait for.
func (g *Group) step(ctx context.Context, a *attempt, v *Verdict[any]) (*load, error) {
	var l *load
	var noAnswer *NoAnswerError
	for again := true; again; {
		stores := g.caches()
		if a.next == 0 {
			a.change = g.memory.changes.Load() // before any source says anything
		}
		a.askHolders(stores) // foreign code, like the next line, so not under the mutex
		a.ended = ctx.Err()
		g.memory.mu.Lock()
		l, noAnswer = g.stepLocked(ctx, stores, a, v)
		again = l == nil && noAnswer == nil && v.Cache == "" && a.againLocked(stores)
		g.memory.mu.Unlock()
	}
	switch {
	case l != nil:
		return l, nil
	case noAnswer != nil:
		return nil, g.fail(ctx, noAnswer)
	case v.Cache != "":
		return nil, nil
	case g.lapsed():
		return nil, g.fail(ctx, &NoAnswerError{Token: a.token.id, Reason: ReasonLapsed})
	default:
		return nil, g.refuse(a.token.id, a.reason)
	}
}

// askHolders asks the sources that can say at once that they do not hold the token.
func (a *attempt) askHolders(stores []*store) {
	a.absent = 0
	for _, s := range stores {
		if (a.only == nil || a.only == s) && s.shelf.index >= a.next && s.holder != nil && !s.shelf.hidden && !s.holder.MayHold(a.token.id) {
			a.absent |= s.shelf.bit()
		}
	}
}

// againLocked reports whether to ask caches once more, now that each has
// refused the token: those whose sources have changed since the round began.
func (a *attempt) againLocked(stores []*store) bool {
	a.rounds++
	if a.only != nil || len(stores) == 1 || a.rounds >= maxRounds {
		return false
	}
	for _, s := range stores {
		if s.shelf.changedSinceLocked(a.token.id.Account, a.change) {
			a.next, a.since = 0, a.change
			return true
		}
	}
	return false
}

func (g *Group) stepLocked(ctx context.Context, stores []*store, a *attempt, v *Verdict[any]) (*load, *NoAnswerError) {
	if err := g.unableLocked(stores, a); err != nil {
		return nil, err
	}
	if g.recallLocked(stores, a, v) {
		return nil, nil
	}
	at := g.memory.clock.read()
	if a.next == 0 && a.rounds == 0 {
		a.reason, a.came = ReasonUnknownToken, at.now
	}
	for ; a.next < len(stores); a.next++ {
		s := stores[a.next]
		if a.only != nil && s != a.only || a.rounds > 0 && !s.shelf.changedSinceLocked(a.token.id.Account, a.since) {
			continue
		}
		l, err := g.askLocked(ctx, s, a, at, v)
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

var errNoCaches = errors.New("the group has no caches")

// recallLocked sets the verdict if one of the caches remembers it.
func (g *Group) recallLocked(stores []*store, a *attempt, v *Verdict[any]) bool {
	for _, s := range stores {
		if a.only != nil && s != a.only {
			continue
		}
		e := s.shelf.findSecretLocked(a.query.hash, &a.query.digest, a.token.id)
		if e != nil && g.withhold(e.good, e, a) == 0 {
			s.shelf.hits.hit()
			e.use(lapOf(g.memory.clock.noted.Load()))
			*v = Verdict[any]{Token: a.token.id, Cache: s.shelf.name, Record: e.record, FromMemory: true}
			return true
		}
	}
	return false
}

// askLocked returns the load to wait for, or says why there is none. It returns neither
// if memory refuses the token, or has set the verdict.
func (g *Group) askLocked(ctx context.Context, s *store, a *attempt, at moment, v *Verdict[any]) (*load, *NoAnswerError) {
	id := a.token.id
	if s.shelf.closed.Load() {
		return nil, s.noAnswer(id, ReasonClosed, nil)
	}
	if reason := s.shelf.refusesLocked(a.query.hash, id, at.now); reason != 0 {
		a.reason = max(a.reason, reason)
		return nil, nil
	}
	if a.absent&s.shelf.bit() != 0 {
		return nil, nil
	}
	if a.ended != nil {
		return nil, s.noAnswer(id, ReasonGaveUp, a.ended)
	}
	l, err := s.obtainLocked(ctx, &a.token, &a.query, at, false)
	if err != nil {
		if g.staleLocked(s, a, v) {
			return nil, nil
		}
		return nil, err
	}
	l.waiters++
	s.shelf.stats.Misses++
	a.wait = 0
	if s.staleWait > 0 && g.staleEntryLocked(s, a) != nil {
		a.wait = s.staleWait
	}
	if l.custody.secret.is(a.token.secret) {
		a.lent = l
	}
	return l, nil
}

// staleEntryLocked returns the entry that may answer past its time while the store's
// source does not, or nil. Nothing remembers the token within its time.
func (g *Group) staleEntryLocked(s *store, a *attempt) *entry {
	if s.shelf.stale <= 0 {
		return nil
	}
	e := s.shelf.findSecretLocked(a.query.hash, &a.query.digest, a.token.id)
	if e == nil || g.withhold(s.shelf.staleUntil(e), e, a) != 0 {
		return nil
	}
	return e
}

// staleLocked sets the verdict if the store's cache remembers the token past its time.
func (g *Group) staleLocked(s *store, a *attempt, v *Verdict[any]) bool {
	e := g.staleEntryLocked(s, a)
	if e == nil {
		return false
	}
	s.shelf.stats.Stale++
	g.outcomes.confirmed()
	e.use(lapOf(g.memory.clock.noted.Load()))
	*v = Verdict[any]{Token: a.token.id, Cache: s.shelf.name, Record: e.record, FromMemory: true, Stale: true}
	return true
}

// stale is staleLocked without the mutex, for a caller whose load runs on.
func (g *Group) stale(s *store, a *attempt, v *Verdict[any]) bool {
	g.memory.mu.Lock()
	defer g.memory.mu.Unlock()
	return g.staleLocked(s, a, v)
}

// detach lets the load run on without the caller.
func (l *load) detach() {
	mu := &l.store.shelf.memory.mu
	mu.Lock()
	defer mu.Unlock()
	l.waiters--
	l.detached = true
}

// take takes the outcome of a load, and reports whether that ends the attempt. If it is
// an error, memory may have an answer by now, from a load that began later.
func (g *Group) take(ctx context.Context, a *attempt, l *load, v *Verdict[any]) (done bool, err error) {
	s, out := l.store, &l.out
	if out.err == nil {
		a.lent = nil
	}
	if out.outdated {
		return false, nil // the source is asked anew
	}
	if out.confirmed {
		switch g.withhold(out.dies, nil, a) {
		case 0:
			*v = Verdict[any]{Token: a.token.id, Cache: s.shelf.name, Record: out.record}
			g.outcomes.confirmed()
			return true, nil
		case ReasonLapsed:
			return true, g.fail(ctx, &NoAnswerError{Token: a.token.id, Reason: ReasonLapsed})
		}
		a.reason = max(a.reason, expiredReason(out.role))
		a.next++
		return false, nil
	}
	if out.err == nil {
		a.reason = max(a.reason, out.reason)
		a.next++
		return false, nil
	}
	g.memory.mu.Lock()
	remembered := g.recallLocked(g.caches(), a, v) || g.staleLocked(s, a, v)
	g.memory.mu.Unlock()
	if remembered {
		return true, nil
	}
	return true, g.fail(ctx, out.err.clone())
}

// expiredReason returns the reason for refusing what was good until it expired: a token,
// or its previous secret.
func expiredReason(r role) Reason {
	if r == previous {
		return ReasonWrongSecret
	}
	return ReasonExpired
}

// giveUp ends an attempt whose caller no longer waits.
func (g *Group) giveUp(ctx context.Context, a *attempt, l *load, v *Verdict[any]) error {
	if a.wait > 0 && g.stale(l.store, a, v) {
		l.detach()
		return nil
	}
	l.abandon()
	return g.fail(ctx, l.store.noAnswer(a.token.id, ReasonGaveUp, ctx.Err()))
}
