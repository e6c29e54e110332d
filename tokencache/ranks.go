package tokencache

// Ranks are the lines that wait, by how many loads they wait with, so that to find one
// which waits with the most takes no look at each: there may be thousands, and whoever
// is turned away would have that look cost all others the mutex. Guarded by the group's
// mutex.
type ranks struct {
	first []*line // first[n] begins a list of the lines that wait with n+1 loads; the last is not nil
}

// mostLocked returns a line that waits with the most loads. There is one that waits.
func (r *ranks) mostLocked() *line { return r.first[len(r.first)-1] }

// moveLocked has the line wait with one load more, or less.
func (r *ranks) moveLocked(ln *line, change int) {
	if ln.waiting > 0 {
		r.unlinkLocked(ln)
	}
	ln.waiting += change
	if ln.waiting > 0 {
		r.linkLocked(ln)
	}
	if r.mostLocked() == nil {
		r.first = r.first[:len(r.first)-1] // the next is not nil: the line is there, if nothing else is
	}
	if len(r.first) == 0 {
		r.first = nil // it may be long
	}
}

func (r *ranks) linkLocked(ln *line) {
	if len(r.first) < ln.waiting {
		r.first = append(r.first, nil)
	}
	first := &r.first[ln.waiting-1]
	ln.rankNext = *first
	if ln.rankNext != nil {
		ln.rankNext.rankPrev = ln
	}
	*first = ln
}

func (r *ranks) unlinkLocked(ln *line) {
	if ln.rankPrev != nil {
		ln.rankPrev.rankNext = ln.rankNext
	} else {
		r.first[ln.waiting-1] = ln.rankNext
	}
	if ln.rankNext != nil {
		ln.rankNext.rankPrev = ln.rankPrev
	}
	ln.rankPrev, ln.rankNext = nil, nil
}
