package fleet_test

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A fault begins, and ends when the function that it returns is called.
type fault struct {
	name  string
	begin func(w *world, s *slot, lasts time.Duration) (end func())
}

var simFaults = []fault{
	{"cut", cut(true, true)},
	{"cut-requests", cut(true, false)},
	{"cut-answers", cut(false, true)},
	{"pause", (*world).pause},
	{"suspend", (*world).suspend},
	{"slow", func(_ *world, s *slot, lasts time.Duration) func() {
		s.set(func() { s.slow, s.disturbed = 8*time.Second, time.Now().Add(lasts+8*time.Second) })
		return func() { s.set(func() { s.slow = 20 * time.Millisecond }) }
	}},
	{"stale-reads", func(_ *world, s *slot, _ time.Duration) func() {
		s.set(func() { s.behind = 30 })
		return func() { s.set(func() { s.behind = 0 }) }
	}},
	{"old-log-reads", func(_ *world, s *slot, _ time.Duration) func() {
		s.set(func() { s.past = 1 })
		return func() { s.set(func() { s.past = 0 }) }
	}},
	{"break-follower", func(_ *world, s *slot, _ time.Duration) func() { s.conn.Break(); return nil }},
	{"kill", func(w *world, s *slot, _ time.Duration) func() { w.restart(s, true); return nil }},
	{"close", func(w *world, s *slot, _ time.Duration) func() { w.restart(s, false); return nil }},
	{"election", func(w *world, _ *slot, _ time.Duration) func() { w.log.Stop(); return w.log.Start }},
	{"recreate", (*world).recreate},
	{"roll-back", (*world).rollBack},
	{"compact", func(w *world, s *slot, _ time.Duration) func() {
		w.log.Compact()
		s.conn.Break()
		return nil
	}},
}

// cut cuts a node off. A change that the node asked for earlier may have to wait until
// the cut ends: the node knows the lease only if it has seen the change delivered.
func cut(requests, answers bool) func(*world, *slot, time.Duration) func() {
	return func(_ *world, s *slot, lasts time.Duration) func() {
		s.conn.Cut(requests, answers)
		s.set(func() { s.disturbed = time.Now().Add(lasts) })
		return s.conn.Heal
	}
}

func (s *slot) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// faults makes one or two faults at a time.
func (w *world) faults() {
	time.Sleep(time.Duration(w.rng.IntN(20_000)) * time.Millisecond)
	for time.Since(w.begin) < simTime {
		f := simFaults[w.rng.IntN(len(simFaults))]
		s := w.slot(w.rng.IntN(nodes))
		lasts := time.Duration(500+w.rng.IntN(3000)) * time.Millisecond
		if w.rng.IntN(2) == 0 {
			lasts = time.Duration(5+w.rng.IntN(20)) * time.Second
		}
		w.mu.Lock()
		w.script = append(w.script, fmt.Sprintf("%7.3f %s node %d for %v", time.Since(w.begin).Seconds(), f.name, s.number, lasts))
		w.mu.Unlock()
		w.sample()
		if end := f.begin(w, s, lasts); end != nil {
			w.running.Go(func() {
				s.sleep(w.ctx, lasts)
				end()
			})
		}
		time.Sleep(time.Duration(200+w.rng.IntN(9000)) * time.Millisecond)
	}
}

// heal ends the faults that are left.
func (w *world) heal() {
	time.Sleep(26 * time.Second) // every fault has ended by itself
	w.log.Start()
	for i := range w.slots {
		s := w.slot(i)
		s.conn.Heal()
		s.set(func() { s.slow, s.behind, s.past = 20*time.Millisecond, 0, 0 })
	}
}

// pause stops a process, or keeps a stopped one stopped for longer.
func (w *world) pause(s *slot, lasts time.Duration) func() {
	s.set(func() {
		if until := time.Now().Add(lasts); until.After(s.pausedUntil) {
			s.pausedUntil = until
		}
		s.disturbed = s.pausedUntil
	})
	return nil
}

// suspend stops a machine, and its clock, unless it is suspended. Answers before the node
// notices are outside the promise.
func (w *world) suspend(s *slot, lasts time.Duration) func() {
	var already bool
	s.set(func() {
		already = s.doubtUntil == suspended
		s.doubtUntil = suspended
	})
	if already {
		return nil
	}
	w.pause(s, lasts)
	s.clock.asleep.Add(int64(lasts))
	w.running.Go(func() {
		s.gate(w.ctx) // a process that was stopped as well notices when it goes on
		time.Sleep(simLease / 50)
		s.set(func() { s.doubtUntil = w.tick() })
	})
	return nil
}

// suspended is later than every instant.
const suspended = 1 << 62

// restart starts another process in the slot.
func (w *world) restart(s *slot, kill bool) {
	if kill {
		s.conn.Cut(true, true)
	} else {
		w.running.Go(s.node.Close)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.slots[s.number] != s {
		return
	}
	w.dead = append(w.dead, s)
	w.slots[s.number] = w.boot(s.number, rand.New(rand.NewPCG(w.rng.Uint64(), 5)))
}

func (w *world) recreate(*slot, time.Duration) func() {
	w.log.Recreate()
	for i := range w.slots { // the new log may be behind the position of a change for long
		s := w.slot(i)
		s.set(func() { s.disturbed = time.Now() })
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.h.replaced = append(w.h.replaced, w.tick())
	w.samples = nil
	return nil
}

func (w *world) sample() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.samples = append(w.samples, sample{time.Now(), w.tick(), w.log.Last()})
}

// rollBack restores the log as it was at the last sample. A session that began after it
// would be lost with its heartbeat; docs/fleet-proof.md demands that a log is then down
// for a lease, so rollBack does nothing in that case. The changes since the sample are
// lost.
func (w *world) rollBack(*slot, time.Duration) func() {
	w.mu.Lock()
	if len(w.samples) < 2 {
		w.mu.Unlock()
		return nil
	}
	to := w.samples[len(w.samples)-2]
	w.mu.Unlock()
	for i := range w.slots {
		s := w.slot(i)
		s.mu.Lock()
		late := s.serving.IsZero() || s.serving.After(to.at)
		s.mu.Unlock()
		if late {
			return nil
		}
	}
	w.log.RollBack(to.last)
	end := w.tick()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = append(w.lost, [2]int64{to.tick, end})
	w.samples = nil
	return nil
}
