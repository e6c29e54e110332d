package tokencache

import "time"

// startClockLocked makes the memory note the time from now on.
func (m *memory) startClockLocked() {
	if m.ticking == nil {
		m.clock.note()
		m.ticking = time.AfterFunc(tick, m.tick)
	}
}

// tick notes the time, as long as a cache holds anything. It also looks through a part
// of the table and removes what has expired, so that the table empties and the ticking
// stops.
func (m *memory) tick() {
	m.clock.note()
	m.sweep()
	m.mu.Lock()
	if m.ticking != nil && !m.stopClockLocked() {
		m.ticking.Reset(tick)
	}
	m.mu.Unlock()
	m.ticked()
}

// stopClockLocked stops the notes if no cache holds anything, and reports whether
// it did.
func (m *memory) stopClockLocked() bool {
	if m.linked > 0 {
		return false
	}
	if m.ticking != nil {
		m.ticking.Stop()
		m.ticking = nil
	}
	m.shrinkLocked()
	return true
}

// A sweep looks at a 64th of the buckets, and at sweepStep of them at least, in
// steps between which others can have the mutex.
const (
	sweepPart = 64
	sweepStep = 1024 / fill
)

func (m *memory) sweep() {
	for left := len(m.table.Load().buckets) / sweepPart; ; left -= sweepStep {
		m.mu.Lock()
		m.sweepLocked(sweepStep)
		m.mu.giveWay()
		if left <= sweepStep {
			return
		}
	}
}

// sweepLocked removes what has expired from the next buckets.
func (m *memory) sweepLocked(buckets int) {
	t := m.table.Load()
	if t.old != nil {
		if t.moveLocked(buckets) {
			m.table.Store(&table{buckets: t.buckets})
		}
		return
	}
	now := m.clock.now()
	for range min(buckets, len(t.buckets)) {
		m.swept = (m.swept + 1) & (len(t.buckets) - 1)
		for e := range t.buckets[m.swept].all() {
			if e.expiredBy(now) {
				e.owner.Load().epoch.shelf.expireLocked(e, now)
			}
		}
	}
}
