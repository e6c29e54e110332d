package tokencache

import (
	"slices"
	"sync/atomic"
)

// A lengths has the lengths of the secrets that a group remembers. They tell a hit where
// a bearer's head may end. Hits read common; the rest is guarded by the memory's mutex.
//
// A length that no entry has any more stays in common until common is made anew. It
// does no harm there, and tokens that come and go one by one do not make it anew.
type lengths struct {
	common atomic.Pointer[[]int] // the most common one first; replaced, never changed
	known  [maxLengths]knownLength
	order  []uint8 // of known, as in common
}

type knownLength struct {
	length, entries int
	place           int // in order
	isCommon        bool
}

// maxLengths is how many lengths hits try. Secrets of others are found too, by
// bearers that are decoded.
const maxLengths = 8

// otherLength stands for all lengths beyond maxLengths.
const otherLength = maxLengths

// addLocked counts an entry, and returns the index of its secret's length.
func (l *lengths) addLocked(length int) uint8 {
	i := slices.IndexFunc(l.known[:], func(k knownLength) bool { return k.length == length })
	if i < 0 {
		i = slices.IndexFunc(l.known[:], func(k knownLength) bool { return k.entries == 0 })
	}
	if i < 0 {
		return otherLength
	}
	k := &l.known[i]
	if k.length != length {
		*k = knownLength{length: length}
	}
	k.entries++
	if !k.isCommon || k.place > 0 && k.entries > 2*l.known[l.order[k.place-1]].entries {
		l.publishLocked()
	}
	return uint8(i)
}

// removeLocked takes back what addLocked has counted.
func (l *lengths) removeLocked(i uint8) {
	if i != otherLength {
		l.known[i].entries--
	}
}

func (l *lengths) publishLocked() {
	l.order = l.order[:0]
	for i := range l.known {
		l.known[i].isCommon = l.known[i].entries > 0
		if l.known[i].isCommon {
			l.order = append(l.order, uint8(i))
		}
	}
	slices.SortFunc(l.order, func(a, b uint8) int { return l.known[b].entries - l.known[a].entries })
	common := make([]int, len(l.order))
	for place, i := range l.order {
		common[place], l.known[i].place = l.known[i].length, place
	}
	l.common.Store(&common)
}
