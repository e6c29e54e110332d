package tokencache

import (
	"container/heap"
	"slices"
	"time"
)

// Deadlines are the loads of a group by when their phase ends. One timer does for
// all of them: it is set for the first, and when it fires for the next. All of it
// is guarded by the group's mutex.
type deadlines struct {
	group *Group
	loads loadHeap
	timer *time.Timer
	fires int64 // clock reading: when the timer fires; 0: it is not set
}

// setLocked has the load's phase end at this moment.
func (d *deadlines) setLocked(l *load, at int64) {
	l.deadline = at
	if l.heapIndex >= 0 {
		heap.Fix(&d.loads, l.heapIndex)
	} else {
		heap.Push(&d.loads, l)
	}
	d.watchLocked()
}

// removeLocked removes the load, if it is there.
func (d *deadlines) removeLocked(l *load) {
	if l.heapIndex >= 0 {
		heap.Remove(&d.loads, l.heapIndex)
	}
	if len(d.loads) == 0 && cap(d.loads) > smallFlood {
		d.loads = nil
	}
}

// overdueLocked removes and returns the first load, if its time is up; else nil.
func (d *deadlines) overdueLocked() *load {
	if len(d.loads) == 0 || d.loads[0].deadline > d.group.clock.now() {
		return nil
	}
	return heap.Pop(&d.loads).(*load)
}

// watchLocked sets the timer, unless it fires early enough.
func (d *deadlines) watchLocked() {
	if len(d.loads) == 0 {
		return
	}
	next := d.loads[0].deadline
	if d.fires != 0 && d.fires <= next {
		return
	}
	d.fires = next
	left := time.Duration(next - d.group.clock.now())
	if d.timer == nil {
		d.timer = time.AfterFunc(left, d.group.overdue)
	} else {
		d.timer.Reset(left)
	}
}

// stopLocked stops the timer.
func (d *deadlines) stopLocked() {
	if d.timer != nil {
		d.timer.Stop()
		d.fires = 0
	}
}

// smallFlood is how many loads, or accounts, may have been there at once without
// their memory being given back afterwards.
const smallFlood = 64

type loadHeap []*load

func (h loadHeap) Len() int           { return len(h) }
func (h loadHeap) Less(i, j int) bool { return h[i].deadline < h[j].deadline }

func (h loadHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapIndex, h[j].heapIndex = i, j
}

func (h *loadHeap) Push(x any) {
	l := x.(*load)
	l.heapIndex = len(*h)
	*h = append(*h, l)
}

func (h *loadHeap) Pop() any {
	last := len(*h) - 1
	l := (*h)[last]
	*h = slices.Delete(*h, last, last+1)
	l.heapIndex = -1
	return l
}
