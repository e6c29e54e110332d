package tokencache

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Hints are the digests of secrets that were good a short while ago, of entries
// that were evicted, displaced or have expired. Loads with such a secret have
// their hash computed first, in every store. A hint is never an answer: the hash
// is computed all the same, and where the store that had the entry refuses the
// token the hint is gone. A refusal by another store says nothing: the first one
// refuses each token that the second one's source holds
// (TestHintsOutlastTheRefusalsOfOthers).
//
// All of it is guarded by the group's mutex.
type hints struct {
	digests *simplelru.LRU[digest, hint]
}

type hint struct {
	by    *store // which had the entry
	until int64  // clock reading: how long it counts
}

const (
	maxHints  = 1 << 14 // about 2 MB
	hintsLast = time.Hour
)

func newHints() hints {
	digests, _ := simplelru.NewLRU[digest, hint](maxHints, nil) // fails for sizes below 1 only
	return hints{digests}
}

func (h *hints) addLocked(d digest, by *store, now int64) {
	h.digests.Add(d, hint{by, after(now, hintsLast)})
}

// removeLocked forgets the hint, now that the store has refused the token.
func (h *hints) removeLocked(d digest, by *store) {
	if known, ok := h.digests.Peek(d); ok && known.by == by {
		h.digests.Remove(d)
	}
}

// hasLocked reports whether the digest was good a short while ago.
func (h *hints) hasLocked(d digest, now int64) bool {
	known, ok := h.digests.Peek(d)
	return ok && now < known.until
}
