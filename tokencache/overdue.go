package tokencache

import "time"

// unsettled is the list of a store's loads that are not settled, whether registered
// or not, in the order in which they started. All have the same time, so that the
// first is overdue first. It is guarded by the group's mutex.
type unsettled struct{ first, last *flight }

func (u *unsettled) addLocked(f *flight) {
	f.before = u.last
	if f.before != nil {
		f.before.after = f
	} else {
		u.first = f
	}
	u.last = f
}

func (u *unsettled) removeLocked(f *flight) {
	if f.before != nil {
		f.before.after = f.after
	} else {
		u.first = f.after
	}
	if f.after != nil {
		f.after.before = f.before
	} else {
		u.last = f.before
	}
	f.before, f.after = nil, nil
}

// left returns how much time the load has left.
func (f *flight) left() time.Duration {
	return time.Duration(f.started-f.store.group.clock.now()) + f.store.loadTimeout
}

// watchLocked sees to it that overdue loads are settled. One timer does for all
// loads of a store: it is set for the first, and when it fires for the next.
func (s *store) watchLocked() {
	if s.watch == nil {
		s.watch = time.AfterFunc(s.unsettled.first.left(), s.settleOverdue)
	}
}

// settleOverdue tells those who wait for overdue loads, and takes these off the
// register: whoever comes now deserves a new one.
func (s *store) settleOverdue() {
	var settled []*flight
	s.group.mu.Lock()
	for f := s.unsettled.first; f != nil && f.left() <= 0; f = s.unsettled.first {
		f.settleLocked(overdue)
		if f.registered {
			f.unregisterLocked()
			s.releaseLocked(f.cell)
		}
		settled = append(settled, f)
	}
	s.watch = nil
	if s.unsettled.first != nil {
		s.watchLocked()
	}
	s.group.mu.Unlock()
	for _, f := range settled {
		close(f.done)
	}
}

// dropLocked settles all loads of a store that is being closed. The caller closes
// their done.
func (s *store) dropLocked() (settled []*flight) {
	for f := s.unsettled.first; f != nil; f = s.unsettled.first {
		f.settleLocked(dropped)
		settled = append(settled, f)
	}
	if s.watch != nil {
		s.watch.Stop()
		s.watch = nil
	}
	return settled
}
