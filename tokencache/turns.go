package tokencache

import (
	"container/list"
	"math"
	"slices"
	"time"
)

// Turns bounds how many loads do something at once, and has the others wait in an
// order in which nobody can hold up the rest: the loads of each account in turn,
// of one account those of each token name in turn, of one name first come, first
// served. Loads whose secret was good a short while ago come before all others:
// that is how a clearing under attack costs its good tokens one hash each.
//
// Where all turns are taken, a load of an account that has none gets one all the same
// if its hash is known to be cheap: if every hash that is being computed takes more
// than twice as long. So cheap hashes do not wait for dear ones of others, however
// many accounts attack; and there are at most classes/clearly such turns.
//
// No account may have more than its share of the places to wait. Where all places
// are taken, a newcomer takes the one of the account that waits with the most
// loads.
//
// All of it is guarded by the group's mutex.
//
// INVARIANT: whenever a load waits, it could not have a turn. Whatever gives a turn
// back hands it on at once.
type turns struct {
	limit int // how many may have a turn at once
	share int // how many of one account
	extra int // how many more, of accounts that have none

	places        int // how many may wait
	placesAccount int // how many of one account

	running, waiting int
	waitingOf        [classes]int      // of these, by the class of their account
	costs            *costs            // nil: what a turn is for costs the same for all
	active           []*line           // those that have a turn, if costs are known
	lines            map[Account]*line // of the accounts that have a turn or wait
	ranks            ranks             // of the lines that wait
	rings            [lanes]list.List  // of *line: the accounts that wait in the lane, the next one first
	begin            func(*load)       // begins the phase of a load that was given a turn
	strays           *strays           // which may block an account, or all; nil: none do

	mean  int64 // moving average of how long a turn takes, in nanoseconds
	peak  int   // how many lines there were at once
	spare *line // one that was freed
}

// A lane is one of the two queues: of loads whose secret was good, and of others.
const (
	hintedLane = iota
	plainLane
	lanes
)

// A line is what one account has of the turns.
type line struct {
	account          Account
	class            class
	running, waiting int
	rankPrev         *line // in the list of turns.ranks
	rankNext         *line
	lanes            [lanes]struct {
		inRing *list.Element // of turns.rings; nil: nothing of the account waits in the lane
		names  list.List     // of *nameQueue, the next one first
		byName map[string]*list.Element
	}
}

// A nameQueue is the loads of one token name that wait, the first one first.
type nameQueue struct {
	name  string
	loads list.List // of *load
}

// A place is where a load waits; the zero place: nowhere.
type place struct {
	turns *turns
	line  *line
	lane  int
	queue *list.Element // of *nameQueue
	at    *list.Element // in the nameQueue
}

// accountShare is which part of the loads, of the places to wait and of the stray
// loads one account may have: an eighth, so that seven can attack at once before
// the others are held up. What is too small to be shared is not.
const accountShare = 8

func shareOf(all int) int {
	if all < accountShare {
		return all
	}
	return all / accountShare
}

// setPlaces sets how many loads may wait.
func (t *turns) setPlaces(places int) {
	t.places, t.placesAccount = places, places
	if places < math.MaxInt {
		t.placesAccount = shareOf(places)
	}
}

func (t *turns) line(a Account) *line {
	l := t.lines[a]
	if l != nil {
		return l
	}
	if l, t.spare = t.spare, nil; l == nil {
		l = new(line)
	}
	if t.lines == nil {
		t.lines = make(map[Account]*line)
	}
	l.account = a
	if t.costs != nil {
		l.class = t.costs.ofLocked(a)
	}
	t.lines[a] = l
	t.peak = max(t.peak, len(t.lines))
	return l
}

// freeLocked forgets a line that has nothing.
func (t *turns) freeLocked(l *line) {
	if l.running > 0 || l.waiting > 0 {
		return
	}
	delete(t.lines, l.account)
	l.account, l.class = Account{}, 0
	t.spare = l
	if len(t.lines) == 0 && t.peak > smallFlood {
		t.lines, t.peak = nil, 0
	}
}

// mostLocked returns the dearest class whose loads may have a turn now, of accounts
// that have none.
func (t *turns) mostLocked() class {
	switch {
	case t.running < t.limit+t.extra:
		return anyClass
	case t.costs == nil:
		return noClass
	}
	most := class(anyClass)
	for _, l := range t.active {
		most = min(most, l.class-clearly)
	}
	return most
}

// may reports whether the account can have a turn now.
func (t *turns) may(l *line, most class) bool {
	if t.strays != nil && t.strays.fullLocked(l.account) {
		return false
	}
	if t.running < t.limit {
		return l.running < t.share
	}
	return l.running == 0 && l.class <= most
}

// takeLocked gives the load a turn, if there is one for it.
func (t *turns) takeLocked(l *load) bool {
	ln := t.line(l.token.id.Account)
	if !t.may(ln, t.mostLocked()) {
		t.freeLocked(ln)
		return false
	}
	t.beginLocked(ln)
	return true
}

func (t *turns) beginLocked(ln *line) {
	if ln.running == 0 && t.costs != nil {
		t.active = append(t.active, ln)
	}
	ln.running++
	t.running++
}

// giveBackLocked takes back a turn that the account has had for so long, and hands
// it on.
func (t *turns) giveBackLocked(a Account, took int64) {
	t.mean += (took - t.mean) / 8
	ln := t.lines[a]
	ln.running--
	t.running--
	if t.costs != nil {
		t.noteLocked(ln, took)
	}
	t.freeLocked(ln)
	t.handOnAllLocked()
}

// noteLocked notes what the line's turn cost.
func (t *turns) noteLocked(ln *line, took int64) {
	t.waitingOf[ln.class] -= ln.waiting
	ln.class = t.costs.noteLocked(ln.account, took)
	t.waitingOf[ln.class] += ln.waiting
	if ln.running == 0 {
		at := slices.Index(t.active, ln) // of a few for each core
		t.active = slices.Delete(t.active, at, at+1)
	}
}

// handOnAllLocked gives turns to the loads that can have one now.
func (t *turns) handOnAllLocked() {
	for t.handOnLocked() {
	}
}

// handOnLocked gives a turn to the next load that can have one.
func (t *turns) handOnLocked() bool {
	most := t.mostLocked()
	if !t.waitsLocked(most) || t.strays != nil && t.strays.allLocked() {
		return false // without a look at each account: there may be thousands
	}
	for lane := range t.rings {
		ring := &t.rings[lane]
		for at := ring.Front(); at != nil; at = at.Next() {
			ln := at.Value.(*line)
			if !t.may(ln, most) {
				continue
			}
			ring.MoveToBack(at)
			names := &ln.lanes[lane].names
			queue := names.Front()
			names.MoveToBack(queue)
			l := queue.Value.(*nameQueue).loads.Front().Value.(*load)
			t.beginLocked(ln)
			l.place.leaveLocked()
			t.begin(l)
			return true
		}
	}
	return false
}

// waitsLocked reports whether a load of the class, or of a cheaper one, waits.
func (t *turns) waitsLocked(most class) bool {
	for c := class(0); c <= most; c++ {
		if t.waitingOf[c] > 0 {
			return true
		}
	}
	return false
}

// queueLocked has the load wait, and reports whether there was a place.
func (t *turns) queueLocked(l *load) bool {
	ln := t.line(l.token.id.Account)
	lane := plainLane
	if l.hinted {
		lane = hintedLane
	}
	if !t.makeRoomLocked(ln, lane) {
		t.freeLocked(ln)
		return false
	}
	ln = t.line(l.token.id.Account) // what was turned away may have been the last of its line
	t.waiting++
	t.waitingOf[ln.class]++
	t.ranks.moveLocked(ln, 1)
	in := &ln.lanes[lane]
	if in.byName == nil {
		in.byName = make(map[string]*list.Element)
	}
	queue := in.byName[l.key.name]
	if queue == nil {
		queue = in.names.PushBack(&nameQueue{name: l.key.name})
		in.byName[l.key.name] = queue
	}
	if in.inRing == nil {
		in.inRing = t.rings[lane].PushBack(ln)
	}
	l.place = place{t, ln, lane, queue, queue.Value.(*nameQueue).loads.PushBack(l)}
	return true
}

// leaveLocked takes the load out of the queue that it waits in.
func (p *place) leaveLocked() {
	t, ln := p.turns, p.line
	in := &ln.lanes[p.lane]
	queue := p.queue.Value.(*nameQueue)
	queue.loads.Remove(p.at)
	if queue.loads.Len() == 0 {
		in.names.Remove(p.queue)
		delete(in.byName, queue.name)
	}
	if in.names.Len() == 0 {
		t.rings[p.lane].Remove(in.inRing)
		in.inRing, in.byName = nil, nil
	}
	t.waiting--
	t.waitingOf[ln.class]--
	t.ranks.moveLocked(ln, -1)
	*p = place{}
	t.freeLocked(ln)
}

// makeRoomLocked reports whether a load of the line may wait in the lane. Where
// there is no place, another has to go: of the line itself for one whose secret was
// good, and else of the line that waits with the most loads.
func (t *turns) makeRoomLocked(ln *line, lane int) bool {
	if ln.waiting >= t.placesAccount {
		return lane == hintedLane && t.turnAwayLocked(ln)
	}
	if t.waiting < t.places {
		return true
	}
	longest := t.ranks.mostLocked() // as all places are taken, there is one
	if longest.waiting == ln.waiting {
		longest = ln
	}
	if longest.waiting <= ln.waiting+1 && lane != hintedLane {
		return false
	}
	return t.turnAwayLocked(longest)
}

// turnAwayLocked ends the last load that waits in the line's plain lane.
func (t *turns) turnAwayLocked(ln *line) bool {
	names := &ln.lanes[plainLane].names
	if names.Len() == 0 {
		return false
	}
	l := names.Back().Value.(*nameQueue).loads.Back().Value.(*load)
	err := l.store.overloaded(l.token.id, t)
	l.stopLocked(&outcome{reason: err.Reason, err: err})
	l.store.running.add()
	go func() { // as it must not be called under the mutex
		defer l.store.running.done()
		l.finish()
	}()
	return true
}

// overloaded returns the error for a load that has waited too long for one of the
// turns, or found no place to wait.
func (s *store) overloaded(id TokenID, t *turns) *NoAnswerError {
	err := s.noAnswer(id, ReasonOverloaded, nil)
	err.RetryAfter = max(minRetry, time.Duration(t.mean*int64(t.waiting)/int64(t.limit)))
	return err
}

const minRetry = time.Second
