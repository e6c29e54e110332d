package fair

// byLength sorts the flows that wait by their number of waiters, so that the longest can
// be found without a scan: there may be thousands.
type byLength[K comparable, V any] struct {
	first []*flow[K, V] // first[n] begins a list of the flows with n+1 waiters; the last is not nil
}

// most returns a flow with the most waiters. At least one flow must wait.
func (b *byLength[K, V]) most() *flow[K, V] { return b.first[len(b.first)-1] }

// move changes the number of the flow's waiters by one.
func (b *byLength[K, V]) move(f *flow[K, V], change int) {
	if f.waiting > 0 {
		b.unlink(f)
	}
	f.waiting += change
	if f.waiting > 0 {
		b.link(f)
	}
	if b.most() == nil {
		b.first = b.first[:len(b.first)-1] // the next list is not empty: it has at least this flow
	}
	if len(b.first) == 0 {
		b.first = nil // give the memory back: the slice may be long
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
