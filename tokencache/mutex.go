package tokencache

import (
	"sync"
	"sync/atomic"
)

// A mutex is a sync.Mutex that lets its holder give way. Code that does much under it, in
// steps, gives way after each step: if it unlocked and locked again at once, it would get
// the mutex nearly every time, and others would wait for milliseconds.
type mutex struct {
	sync.Mutex
	waiting atomic.Int32

	taken chan struct{} // nil: nobody has given way; guarded by the mutex
}

// Lock locks the mutex.
func (m *mutex) Lock() {
	if !m.TryLock() {
		m.lockSlowly()
	}
}

// lockSlowly waits for the mutex, and wakes those that have given way.
func (m *mutex) lockSlowly() {
	m.waiting.Add(1)
	m.Mutex.Lock()
	m.waiting.Add(-1)
	if m.taken != nil {
		close(m.taken)
		m.taken = nil
	}
}

// giveWay unlocks the mutex. If somebody waits for it, it returns once somebody who
// waited has had it, which is no later than they would have had it anyway.
func (m *mutex) giveWay() {
	if m.waiting.Load() == 0 { // it only falls under the mutex
		m.Unlock()
		return
	}
	if m.taken == nil {
		m.taken = make(chan struct{})
	}
	taken := m.taken
	m.Unlock()
	<-taken
}
