package tokencache

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// Lengths are how long the secrets are that a group remembers: what tells a hit
// where a bearer's head may end. Hits read common; the rest is guarded by the
// group's mutex.
type lengths struct {
	common atomic.Pointer[[]int] // the most common one first; replaced, never changed
	known  [maxLengths]struct{ length, entries int }
}

// maxLengths is how many lengths hits try. Secrets of others are found too, by
// bearers that are decoded.
const maxLengths = 8

// otherLength stands for all lengths beyond maxLengths.
const otherLength = maxLengths

// addLocked counts an entry, and returns the index of its secret's length.
func (l *lengths) addLocked(length int) uint8 {
	free := -1
	for i := range l.known {
		switch known := &l.known[i]; {
		case known.entries == 0:
			free = i
		case known.length == length:
			known.entries++
			return uint8(i)
		}
	}
	if free < 0 {
		return otherLength
	}
	l.known[free].length, l.known[free].entries = length, 1
	l.publishLocked()
	return uint8(free)
}

// removeLocked takes back what addLocked has counted.
func (l *lengths) removeLocked(i uint8) {
	if i == otherLength {
		return
	}
	if l.known[i].entries--; l.known[i].entries == 0 {
		l.publishLocked()
	}
}

func (l *lengths) publishLocked() {
	known := slices.Clone(l.known[:])
	slices.SortFunc(known, func(a, b struct{ length, entries int }) int { return cmp.Compare(b.entries, a.entries) })
	common := make([]int, 0, maxLengths)
	for _, k := range known {
		if k.entries > 0 {
			common = append(common, k.length)
		}
	}
	l.common.Store(&common)
}
