package tokencache

import (
	"container/heap"
	"slices"
	"time"
)

// A deadlines has the loads of a group in the order in which their phases end. One timer
// is enough for all of them: it is set for the first, and then for the next. All of it is
// guarded by the memory's mutex.
type deadlines struct {
	clock   *clock
	overdue func() // what the timer calls
	loads   loadHeap
	timer   *time.Timer
	fires   int64 // reading of the clock's pace: when the timer fires; 0: it is not set
}

// An alarm is when a load's phase ends.
type alarm struct {
	at    int64 // reading of the clock's pace
	index int   // in deadlines, or notSet
}

const notSet = -1

// setLocked sets when the load's phase ends.
func (d *deadlines) setLocked(l *load, at int64) {
	l.alarm.at = at
	if l.alarm.index >= 0 {
		heap.Fix(&d.loads, l.alarm.index)
	} else {
		heap.Push(&d.loads, l)
	}
	d.watchLocked()
}

// removeLocked removes the load, if it is there.
func (d *deadlines) removeLocked(l *load) {
	if l.alarm.index >= 0 {
		heap.Remove(&d.loads, l.alarm.index)
	}
	if len(d.loads) == 0 && cap(d.loads) > smallFlood {
		d.loads = nil
	}
}

// overdueLocked removes and returns the first load if its time is up, or returns nil.
func (d *deadlines) overdueLocked() *load {
	if len(d.loads) == 0 || d.loads[0].alarm.at > d.clock.read().pace {
		return nil
	}
	return heap.Pop(&d.loads).(*load)
}

// watchLocked sets the timer, unless it fires early enough.
func (d *deadlines) watchLocked() {
	if len(d.loads) == 0 {
		return
	}
	next := d.loads[0].alarm.at
	if d.fires != 0 && d.fires <= next {
		return
	}
	d.fires = next
	left := time.Duration(next - d.clock.read().pace)
	if d.timer == nil {
		d.timer = time.AfterFunc(left, d.overdue)
	} else {
		d.timer.Reset(left)
	}
}

// ofLocked returns the loads of a store.
func (d *deadlines) ofLocked(s *store) (loads []*load) {
	for _, l := range d.loads {
		if l.store == s {
			loads = append(loads, l)
		}
	}
	return loads
}

// smallFlood is how many loads, or accounts, may have existed at once without their
// memory being given back afterwards.
const smallFlood = 64

type loadHeap []*load

func (h loadHeap) Len() int           { return len(h) }
func (h loadHeap) Less(i, j int) bool { return h[i].alarm.at < h[j].alarm.at }

func (h loadHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].alarm.index, h[j].alarm.index = i, j
}

func (h *loadHeap) Push(x any) {
	l := x.(*load)
	l.alarm.index = len(*h)
	*h = append(*h, l)
}

func (h *loadHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	*h = slices.Delete(*h, last, last+1)
	l.alarm.index = notSet
	return l
}
