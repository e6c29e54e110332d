package tokencache

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Hints are the secrets that were good under a name a short while ago, of entries that
// were evicted, displaced or have expired. Hashes of loads with such a secret are
// computed first. A hint is never an answer, and it is spent: each cache computes at most
// one hash early because of it. So with a revoked secret, an attacker gains at most one
// early hash, and nothing under another name.
//
// All of it is guarded by the memory's mutex.
type hints struct {
	known *simplelru.LRU[tokenKey, hint]
}

type hint struct {
	until int64  // clock reading: how long it counts
	spent uint64 // by which caches, a bit for each
}

const (
	maxHints  = 1 << 14 // about 2 MB
	hintsLast = time.Hour
)

func newHints() hints {
	known, _ := simplelru.NewLRU[tokenKey, hint](maxHints, nil) // fails for sizes below 1 only
	return hints{known}
}

func (h *hints) addLocked(key tokenKey, now int64) {
	h.known.Add(key, hint{until: after(now, hintsLast)})
}

// hasLocked reports whether a cache, by its bit, may use the hint.
func (h *hints) hasLocked(key tokenKey, bit uint64, now int64) bool {
	known, ok := h.known.Peek(key)
	return ok && now < known.until && known.spent&bit == 0 && bit != 0
}

// spendLocked notes that a cache has used the hint.
func (h *hints) spendLocked(key tokenKey, bit uint64) {
	if known, ok := h.known.Peek(key); ok {
		known.spent |= bit
		h.known.Add(key, known)
	}
}
