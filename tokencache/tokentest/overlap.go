package tokentest

import (
	"sync"
	"time"
)

// overlap is how long a notice waits for another change, which may itself wait for the
// end of the notice.
const overlap = 50 * time.Millisecond

// checkOverlap: if a token changes while the caches are told of another one's change,
// they are told of it too, before it is reported as done.
func checkOverlap(s *subject) {
	s.tells()
	first, second := &listener{id: kinds[0]}, &listener{id: kinds[1]}
	notice := make(chan *heldNotice, 1)
	first.hear = func() {
		select {
		case n := <-notice:
			n.hold()
		default:
		}
	}
	defer s.subscribe(first)()
	defer s.subscribe(second)()
	seconds := s.changes(second.id)
	for i, c := range s.changes(first.id) {
		before, other := first.told.Load(), second.told.Load()
		n := &heldNotice{heard: make(chan struct{}), released: make(chan struct{})}
		notice <- n
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.do()
		}()
		select {
		case <-n.heard:
		case <-done: // the caches were not told, which another property checks
			<-notice
		}
		seconds[i].do()
		toldSecond := second.told.Load() > other
		n.release()
		<-done
		if first.told.Load() > before && !toldSecond {
			s.Errorf("the %s of %s, while the caches were told of the %s of %s, was reported as done before they were told of it",
				seconds[i].name, second.id, c.name, first.id)
		}
	}
}

// A heldNotice makes a source wait that tells the caches of a change.
type heldNotice struct {
	heard, released chan struct{}
	once            sync.Once
}

func (n *heldNotice) hold() {
	close(n.heard)
	late := time.NewTimer(overlap)
	defer late.Stop()
	select {
	case <-n.released:
	case <-late.C:
	}
}

func (n *heldNotice) release() { n.once.Do(func() { close(n.released) }) }
