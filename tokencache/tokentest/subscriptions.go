package tokentest

import "slices"

// checkEverySubscriber: each cache is told, even if there are several.
func checkEverySubscriber(s *subject) {
	s.tells()
	all := make([]*listener, 3)
	for i := range all {
		all[i] = &listener{id: kinds[0]}
		defer s.subscribe(all[i])()
	}
	s.create(kinds[0])
	told := 0
	for _, l := range all {
		if l.told.Load() > 0 {
			told++
		}
	}
	if told > 0 && told < len(all) {
		s.Errorf("of %d subscribers, %d were told of a creation", len(all), told)
	}
}

// checkEndOfSubscription: a subscriber that has ended its subscription is told nothing;
// the others are, in whatever order they end theirs, and so is one that subscribes
// afterwards. Ending twice does nothing.
func checkEndOfSubscription(s *subject) {
	end := s.subscribe(new(listener))
	end()
	end()
	s.tells()
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		if !endInOrder(s, order) {
			return
		}
	}
}

// endInOrder makes three subscribers end their subscriptions one after the other, and
// reports whether to continue.
func endInOrder(s *subject, order []int) bool {
	all, ends := make([]*listener, len(order)), make([]func(), len(order))
	for i := range all {
		all[i] = &listener{id: kinds[0]}
		ends[i] = s.subscribe(all[i])
	}
	c := changing{subject: s, listeners: all}
	if c.told()[0] == 0 { // another property checks that
		return false
	}
	for n, i := range order {
		ends[i]()
		ends[i]()
		for j, told := range c.told() {
			ended := slices.Contains(order[:n+1], j)
			switch {
			case ended && told > 0:
				s.Error("a subscriber was told of a change after the end of its subscription")
				return false
			case !ended && told == 0:
				s.Error("when a subscription had ended, another subscriber was told nothing")
				return false
			}
		}
	}
	end := s.subscribe(all[0])
	defer end()
	if c.told()[0] == 0 {
		s.Error("a subscriber that ended its subscription and subscribed again was told nothing")
		return false
	}
	if c.present {
		s.remove(kinds[0])
	}
	return true
}

// A changing token is created and deleted in turns.
type changing struct {
	*subject
	listeners []*listener
	present   bool
}

// told makes the next change, and returns how often each listener was told of it.
func (c *changing) told() []int64 {
	told := make([]int64, len(c.listeners))
	for i, l := range c.listeners {
		told[i] = -l.told.Load()
	}
	if c.present {
		c.remove(kinds[0])
	} else {
		c.create(kinds[0])
	}
	c.present = !c.present
	for i, l := range c.listeners {
		told[i] += l.told.Load()
	}
	return told
}
