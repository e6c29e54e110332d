package tokencache

// A policy decides which entry of a store makes room for a new one. It is S3-FIFO
// (Yang and others, "FIFO queues are all you need for cache eviction", SOSP 2023):
// a new entry is on probation in a small queue, and reaches the main queue if it is
// used there, or if its name was displaced a short while ago. Both are first in,
// first out, except that a used entry gets another round in the main queue. A hit
// leaves no trace but the one mark that says so, which is why it needs no lock.
//
// All of it is guarded by the memory's mutex.
type policy struct {
	capacity    int
	probation   fifo
	main        fifo
	probationAt int // how long probation may be while the store is full

	// ghosts are the hashes of names that were displaced from probation. It loses
	// some: a hash takes the place of another. Nil until something is displaced.
	ghosts []uint32
}

// A fifo is a queue of entries, linked through themselves.
type fifo struct {
	first, last *entry // the first was put in first
	len         int
	isMain      bool
}

// probationPart is which part of a full store is on probation. S3-FIFO's authors have a
// tenth; tokens are asked for again soon or hardly ever. A hundredth hits more on each
// trace of TestHitRatio in internal/harness/peers, except on a set that shifts in a
// cache for half of it: there it hits 0.1 points less.
const probationPart = 100

func newPolicy(capacity int) policy {
	return policy{
		capacity:    capacity,
		probationAt: max(1, capacity/probationPart),
		main:        fifo{isMain: true},
	}
}

func (p *policy) len() int { return p.probation.len + p.main.len }

// addLocked adds a new entry. There is room for it.
func (p *policy) addLocked(e *entry) {
	if p.ghosts != nil && p.ghosts[p.ghost(e.hash)] == e.hash {
		p.main.push(e)
		return
	}
	p.probation.push(e)
}

func (p *policy) removeLocked(e *entry) { p.queueOf(e).remove(e) }

func (p *policy) queueOf(e *entry) *fifo {
	if e.state.Load()&inMain != 0 {
		return &p.main
	}
	return &p.probation
}

// rounds bounds how many used entries get another round to find one that makes
// room.
const rounds = 64

// victimLocked returns the entry that makes room, if the store is full. The caller
// unlinks it.
func (p *policy) victimLocked() *entry {
	if p.len() < p.capacity {
		return nil
	}
	for range rounds {
		e := p.nextLocked()
		if !e.isUsed() || e.owner.Load().dead() {
			break
		}
		e.state.And(^uint32(used))
		p.removeLocked(e)
		p.main.push(e)
	}
	e := p.nextLocked()
	if e.state.Load()&inMain == 0 {
		p.rememberGhost(e.hash)
	}
	return e
}

// nextLocked returns the entry that makes room unless it was used.
func (p *policy) nextLocked() *entry {
	if p.probation.len > p.probationAt || p.main.len == 0 {
		return p.probation.first
	}
	return p.main.first
}

const minGhosts = 64

func (p *policy) rememberGhost(hash uint32) {
	if p.ghosts == nil {
		size := minGhosts
		for size < p.capacity {
			size *= 2
		}
		p.ghosts = make([]uint32, size)
	}
	p.ghosts[p.ghost(hash)] = hash
}

func (p *policy) ghost(hash uint32) int { return int(hash) & (len(p.ghosts) - 1) }

func (q *fifo) push(e *entry) {
	if q.isMain {
		e.state.Or(inMain)
	}
	e.queuePrev, e.queueNext = q.last, nil
	if q.last != nil {
		q.last.queueNext = e
	} else {
		q.first = e
	}
	q.last = e
	q.len++
}

func (q *fifo) remove(e *entry) {
	if e.queuePrev != nil {
		e.queuePrev.queueNext = e.queueNext
	} else {
		q.first = e.queueNext
	}
	if e.queueNext != nil {
		e.queueNext.queuePrev = e.queuePrev
	} else {
		q.last = e.queuePrev
	}
	e.queuePrev, e.queueNext = nil, nil
	q.len--
}
