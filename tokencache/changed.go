package tokencache

import "hash/maphash"

// A changed has, for each account, the number of the last change that the source of a
// cache has reported and that may select the account. Accounts share a number with
// others, one in changedParts of them. Guarded by the memory's mutex.
type changed struct {
	everything uint64
	parts      [changedParts]uint64
}

const changedParts = 64

func (k *keys) changedPart(a Account) int { return int(maphash.Comparable(k.seed, a) % changedParts) }

// noteChangeLocked notes the number of a change.
func (s *shelf) noteChangeLocked(sel selection, change uint64) {
	if sel.everything {
		s.changed.everything = change
	}
	for _, one := range sel.selectors {
		s.changed.parts[s.memory.keys.changedPart(one.account)] = change
	}
}

// changedSinceLocked reports whether the source has reported a change that may select the
// account, after the change with this number.
func (s *shelf) changedSinceLocked(a Account, change uint64) bool {
	return max(s.changed.everything, s.changed.parts[s.memory.keys.changedPart(a)]) > change
}
