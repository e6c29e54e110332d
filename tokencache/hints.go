package tokencache

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Hints are the digests of secrets that were good a short while ago, of entries
// that were evicted, displaced or have expired. Loads with such a secret have
// their hash computed first. A hint is never an answer: the hash is computed all
// the same, and where it does not agree the hint is gone.
//
// All of it is guarded by the group's mutex.
type hints struct {
	digests *simplelru.LRU[digest, int64] // with the clock reading until which they count
}

const (
	maxHints  = 1 << 14 // about 2 MB
	hintsLast = time.Hour
)

func newHints() hints {
	digests, _ := simplelru.NewLRU[digest, int64](maxHints, nil) // fails for sizes below 1 only
	return hints{digests}
}

func (h *hints) addLocked(d digest, now int64) { h.digests.Add(d, after(now, hintsLast)) }

func (h *hints) removeLocked(d digest) { h.digests.Remove(d) }

// hasLocked reports whether the digest was good a short while ago.
func (h *hints) hasLocked(d digest, now int64) bool {
	until, ok := h.digests.Peek(d)
	return ok && now < until
}
