package fair

// byLength is the flows that wait, by how much, so that to find one which waits with
// the most takes no look at each: there may be thousands.
type byLength[K comparable, V any] struct {
	first []*flow[K, V] // first[n] begins a list of the flows with n+1 waiters; the last is not nil
}

// most returns a flow that waits with the most. There is one that waits.
func (b *byLength[K, V]) most() *flow[K, V] { return b.first[len(b.first)-1] }

// move has the flow wait with one more, or one less.
func (b *byLength[K, V]) move(f *flow[K, V], change int) {
	if f.waiting > 0 {
		b.unlink(f)
	}
	f.waiting += change
	if f.waiting > 0 {
		b.link(f)
	}
	if b.most() == nil {
		b.first = b.first[:len(b.first)-1] // the next is not nil: the flow is there, if nothing else is
	}
	if len(b.first) == 0 {
		b.first = nil // it may be long
	}
}

func (b *byLength[K, V]) link(f *flow[K, V]) {
	if len(b.first) < f.waiting {
		b.first = append(b.first, nil)
	}
	first := &b.first[f.waiting-1]
	f.next = *first
	if f.next != nil {
		f.next.prev = f
	}
	*first = f
}

func (b *byLength[K, V]) unlink(f *flow[K, V]) {
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		b.first[f.waiting-1] = f.next
	}
	if f.next != nil {
		f.next.prev = f.prev
	}
	f.prev, f.next = nil, nil
}
