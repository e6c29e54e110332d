package main

import (
	"sync"

	"github.com/svctoken/svctoken/tokencache"
)

// A turns counts the hashes of attacked accounts that got their turn while a good token
// waited for its own.
//
// Only the group knows when a load gets a turn, or begins to wait for one: here it is
// seen when a hash begins, and when a read has ended. On a busy machine hundreds of
// milliseconds may pass in between, in which others hash. So a moment counts as clear if
// all loads of the group that read or hash are in a source's code, as the group's
// counters say: no load is on its way from its read to its place in the queue, and none
// has a turn that it has not begun to use. A hash is counted if it begins at a clear
// moment, after another clear moment since the read: then it got its turn after the token
// had begun to wait, and the token has none yet. So some are missed, but none is counted
// wrongly.
type turns struct {
	group *tokencache.Group

	mu     sync.Mutex // taken before the group's
	inside int        // calls of a source's code
	n      int
	last   [1 << 12]moment // of n, the last
}

// A moment is when a read, or a hash, began.
type moment struct {
	clear  bool
	hashes tokencache.Account // the zero Account: a read, or the hash of an account that is not attacked
}

func attacked(a tokencache.Account) bool { return a.Namespace == victim.Namespace || a == regular }

// begin notes a call of a source's code, and returns its number.
func (t *turns) begin(hashes tokencache.Account) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside++
	if !attacked(hashes) {
		hashes = tokencache.Account{}
	}
	t.last[t.n%len(t.last)] = moment{t.clearLocked(), hashes}
	t.n++
	return t.n - 1
}

// end notes that a call of a source's code has ended, and returns the number of the
// next one.
func (t *turns) end() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.inside--
	return t.n
}

// clearLocked reports whether all loads that read or hash are in a source's code. The
// hashes are counted last: a load that continues after its read meanwhile is counted
// twice, but not missed.
func (t *turns) clearLocked() bool {
	loads, strays := t.countLocked()
	loads += t.group.Stats().Hashing
	_, after := t.countLocked()
	return loads == t.inside && strays == after
}

func (t *turns) countLocked() (loads, strays int) {
	for _, st := range t.group.Caches() {
		loads += st.Loading + st.Abandoned
		strays += st.Abandoned
	}
	return loads, strays
}

// waited returns the highest number of hashes of one attacked account that got their
// turns while a load waited for its own, between its read and this moment.
func (t *turns) waited(read, own int) (most int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := make(map[tokencache.Account]int)
	waits := false
	for n := max(read, t.n-len(t.last)); n < own; n++ {
		at := t.last[n%len(t.last)]
		if waits && at.clear && at.hashes != (tokencache.Account{}) {
			of[at.hashes]++
			most = max(most, of[at.hashes])
		}
		waits = waits || at.clear
	}
	return most
}
