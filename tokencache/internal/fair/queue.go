// Package fair shares a bounded number of turns among accounts, so that no account can
// hold up the others.
//
// A [Queue] gives turns to the accounts in rotation, within an account to its names, and
// within a name first come, first served. It runs nothing and reads no clock: the caller
// says when a turn begins and ends, and asks which work is next.
//
// Nothing here is safe for concurrent use.
package fair

import (
	"container/list"
	"slices"
	"time"
)

// A Queue holds work that waits for turns. K is an account.
//
// Urgent work goes before all other. While all turns are taken, an account that has
// none gets an extra one if every turn in use is known to take more than twice as long
// as the account's own do: cheap work does not wait for the expensive work of others,
// and there are at most classes/clearly such turns.
//
// One account may fill the queue while no other account needs to wait; after that a
// newcomer displaces a waiter of the account with the most. There is no earlier limit for
// an account, and urgent work can be displaced too.
//
// INVARIANT: when Next last reported false, no work that waits could have a turn. So
// after anything that may free a turn, the caller calls Next until it reports false.
type Queue[K comparable, V any] struct {
	limits  Limits[K]
	running int
	waiting int
	ended   ended

	flows   map[K]*flow[K, V]     // of accounts that have a turn or wait, and of the last
	last    *flow[K, V]           // the flow that was asked for last: its account may come again
	active  []*flow[K, V]         // those that have a turn, if costs are known
	rings   [priorities]list.List // of *flow: the accounts that wait, the next one first
	byClass [classes]int          // how many wait, by the class of their account
	longest byLength[K, V]        // the accounts that wait, by how much
	costs   *costs[K]             // nil: every turn costs the same
	peak    int                   // how many flows there were at once
}

// Limits bound what a Queue admits.
type Limits[K comparable] struct {
	Turns      int // at once
	PerAccount int
	Extra      int // further turns, of accounts that have none

	Waiters int // how many may wait

	ByCost  bool      // whether cheap accounts need not wait for expensive ones
	Blocked *Count[K] // accounts that may have no turn; nil: none
}

const (
	urgent = iota
	ordinary
	priorities
)

// A flow is the part of a queue that belongs to one account.
type flow[K comparable, V any] struct {
	account          K
	class            class  // how expensive its turns are, for byClass
	known            *class // the account's entry in costs; nil: unknown, and class is 0
	running, waiting int
	prev, next       *flow[K, V] // in byLength
	byPriority       [priorities]struct {
		inRing *list.Element // of Queue.rings; nil: nothing waits
		names  list.List     // of *nameQueue, the next one first
		byName map[string]*list.Element
	}
}

// A nameQueue is the work that waits for one name, the first one first.
type nameQueue struct {
	name string
	work list.List // of *Waiter
}

// A Waiter is one piece of work. Its owner embeds it.
type Waiter[K comparable, V any] struct {
	Account K
	Name    string
	Urgent  bool
	Value   V

	in   *Queue[K, V] // nil: it does not wait
	flow *flow[K, V]
	name *list.Element // of *nameQueue
	at   *list.Element // in the nameQueue
}

// New returns an empty queue.
func New[K comparable, V any](limits Limits[K]) *Queue[K, V] {
	q := &Queue[K, V]{limits: limits}
	if limits.ByCost {
		q.costs = newCosts[K]()
	}
	return q
}

// Running returns how many turns are in use.
func (q *Queue[K, V]) Running() int { return q.running }

// Waiting returns how many pieces of work wait for a turn.
func (q *Queue[K, V]) Waiting() int { return q.waiting }

// Accounts returns for how many accounts the queue holds memory, besides the one that it
// remembers.
func (q *Queue[K, V]) Accounts() int {
	n := len(q.flows) + cap(q.longest.first)
	if q.last != nil && q.last.idle() {
		n--
	}
	return n
}

// Wait returns how long it should take until everything that waits now has had its turn,
// at the rate at which turns have ended lately.
func (q *Queue[K, V]) Wait(now time.Duration) time.Duration {
	return q.ended.forNext(q.waiting, q.limits.Turns, now)
}

// Take takes a turn for the account, if there is one.
func (q *Queue[K, V]) Take(account K) bool {
	f := q.flow(account)
	if !q.may(f, q.costliest()) {
		q.free(f)
		return false
	}
	q.begin(f)
	return true
}

// GiveBack gives back a turn of the account. Took is how long the account has had it.
func (q *Queue[K, V]) GiveBack(account K, took, now time.Duration) {
	q.ended.note(took, now)
	f := q.flow(account)
	f.running--
	q.running--
	if q.costs != nil {
		q.note(f, took)
	}
	q.free(f)
}

// Add puts the work into the queue, and reports whether there was a place. If all places
// are taken, it takes the place of the last work of the account with the most waiters;
// displaced is that work, which has left the queue.
func (q *Queue[K, V]) Add(w *Waiter[K, V]) (displaced *Waiter[K, V], ok bool) {
	f, p := q.flow(w.Account), ordinary
	if w.Urgent {
		p = urgent
	}
	if displaced, ok = q.makeRoom(f, p); !ok {
		q.free(f)
		return nil, false
	}
	if displaced != nil {
		displaced.Leave()
		f = q.flow(w.Account) // the queue may have given back its memory
	}
	q.waiting++
	q.byClass[f.class]++
	q.longest.move(f, 1)
	in := &f.byPriority[p]
	if in.byName == nil {
		in.byName = make(map[string]*list.Element)
	}
	name := in.byName[w.Name]
	if name == nil {
		name = in.names.PushBack(&nameQueue{name: w.Name})
		in.byName[w.Name] = name
	}
	if in.inRing == nil {
		in.inRing = q.rings[p].PushBack(f)
	}
	w.in, w.flow, w.name = q, f, name
	w.at = name.Value.(*nameQueue).work.PushBack(w)
	return displaced, true
}

// Leave takes the work out of the queue. It does nothing if the work does not wait.
func (w *Waiter[K, V]) Leave() {
	q, f := w.in, w.flow
	if q == nil {
		return
	}
	p := ordinary
	if w.Urgent {
		p = urgent
	}
	in, name := &f.byPriority[p], w.name.Value.(*nameQueue)
	name.work.Remove(w.at)
	if name.work.Len() == 0 {
		in.names.Remove(w.name)
		delete(in.byName, name.name)
	}
	if in.names.Len() == 0 {
		q.rings[p].Remove(in.inRing)
		in.inRing, in.byName = nil, nil
	}
	q.waiting--
	q.byClass[f.class]--
	q.longest.move(f, -1)
	w.in, w.flow, w.name, w.at = nil, nil, nil, nil
	q.free(f)
}

// Next takes a turn for the work that is next, and removes that from the queue. It
// returns false if no work that waits can have a turn.
func (q *Queue[K, V]) Next() (v V, ok bool) {
	if q.waiting == 0 {
		return v, false
	}
	costliest := q.costliest()
	if !q.waits(costliest) || q.limits.Blocked != nil && q.limits.Blocked.Full() {
		return v, false // without a look at each account: there may be thousands
	}
	for p := range q.rings {
		ring := &q.rings[p]
		for at := ring.Front(); at != nil; at = at.Next() {
			f := at.Value.(*flow[K, V])
			if !q.may(f, costliest) {
				continue
			}
			ring.MoveToBack(at)
			names := &f.byPriority[p].names
			name := names.Front()
			names.MoveToBack(name)
			w := name.Value.(*nameQueue).work.Front().Value.(*Waiter[K, V])
			q.begin(f)
			w.Leave()
			return w.Value, true
		}
	}
	return v, false
}

// flow returns the account's flow, a new one if it has none.
func (q *Queue[K, V]) flow(account K) *flow[K, V] {
	last := q.last
	if last != nil && last.account == account {
		return last
	}
	f := q.flows[account]
	if last != nil && last.idle() {
		q.forget(last)
	} else {
		last = nil
	}
	if f == nil {
		f = q.add(account, last)
	}
	q.last = f
	return f
}

// add makes a flow for the account, of one that nobody needs, or nil.
func (q *Queue[K, V]) add(account K, f *flow[K, V]) *flow[K, V] {
	if f == nil {
		f = new(flow[K, V])
	}
	if q.flows == nil {
		q.flows = make(map[K]*flow[K, V])
	}
	f.account = account
	if q.costs != nil {
		if f.known = q.costs.of(account); f.known != nil {
			f.class = *f.known
		}
	}
	q.flows[account] = f
	q.peak = max(q.peak, len(q.flows))
	return f
}

// smallFlood is how many accounts may have been in the queue at once without making free
// give their memory back.
const smallFlood = 64

// idle reports whether the account has no turn and no waiter.
func (f *flow[K, V]) idle() bool { return f.running == 0 && f.waiting == 0 }

// free forgets a flow that is idle, unless it is the last.
func (q *Queue[K, V]) free(f *flow[K, V]) {
	if !f.idle() {
		return
	}
	if f != q.last {
		q.forget(f)
	}
	if q.peak > smallFlood && q.Accounts() == 0 {
		q.flows, q.last, q.peak = nil, nil, 0
	}
}

func (q *Queue[K, V]) forget(f *flow[K, V]) {
	delete(q.flows, f.account)
	var none K
	f.account, f.class, f.known = none, 0, nil
}

// costliest returns the most expensive class whose work may have a turn now, if its
// account has none.
func (q *Queue[K, V]) costliest() class {
	switch {
	case q.running < q.limits.Turns+q.limits.Extra:
		return anyClass
	case q.costs == nil:
		return noClass
	}
	costliest := class(anyClass)
	for _, f := range q.active {
		costliest = min(costliest, f.class-clearly)
	}
	return costliest
}

// may reports whether the account can have a turn now.
func (q *Queue[K, V]) may(f *flow[K, V], costliest class) bool {
	if q.limits.Blocked != nil && q.limits.Blocked.FullFor(f.account) {
		return false
	}
	if q.running < q.limits.Turns {
		return f.running < q.limits.PerAccount
	}
	return f.running == 0 && f.class <= costliest
}

func (q *Queue[K, V]) begin(f *flow[K, V]) {
	if f.running == 0 && q.costs != nil {
		q.active = append(q.active, f)
	}
	f.running++
	q.running++
}

// note records what a turn of the account cost.
func (q *Queue[K, V]) note(f *flow[K, V], took time.Duration) {
	q.byClass[f.class] -= f.waiting
	f.known = q.costs.note(f.account, f.known, took)
	f.class = *f.known
	q.byClass[f.class] += f.waiting
	if f.running == 0 {
		at := slices.Index(q.active, f) // of a few for each core
		q.active = slices.Delete(q.active, at, at+1)
	}
}

// waits reports whether work of the class, or of a cheaper one, waits.
func (q *Queue[K, V]) waits(costliest class) bool {
	for c := class(0); c <= costliest; c++ {
		if q.byClass[c] > 0 {
			return true
		}
	}
	return false
}

// makeRoom reports whether work of the flow may wait, and which work has to leave for it:
// the last waiter of the flow with the most, if that has at least two more than this
// flow. Urgent work displaces ordinary work of that flow whatever the difference, or else
// ordinary work of its own.
func (q *Queue[K, V]) makeRoom(f *flow[K, V], priority int) (displaced *Waiter[K, V], ok bool) {
	if q.waiting < q.limits.Waiters {
		return nil, true
	}
	if q.waiting == 0 {
		return nil, false // nobody may wait
	}
	longest := q.longest.most()
	if longest.waiting == f.waiting {
		longest = f
	}
	if priority == urgent {
		for _, from := range []*flow[K, V]{longest, f} {
			if displaced = from.last(ordinary); displaced != nil {
				return displaced, true
			}
		}
	}
	if longest.waiting <= f.waiting+1 {
		return nil, false
	}
	if displaced = longest.last(ordinary); displaced == nil {
		displaced = longest.last(urgent)
	}
	return displaced, true
}

// last returns the last waiter with this priority, or nil.
func (f *flow[K, V]) last(priority int) *Waiter[K, V] {
	names := &f.byPriority[priority].names
	if names.Len() == 0 {
		return nil
	}
	return names.Back().Value.(*nameQueue).work.Back().Value.(*Waiter[K, V])
}
