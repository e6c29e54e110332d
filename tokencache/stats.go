package tokencache

// Stats are a cache's counters since it was made, and its present sizes. The
// counters of hits are read one after the other while they go on, everything
// else at one instant.
type Stats struct {
	Hits       uint64 // authentications confirmed from memory
	Mismatches uint64 // wrong secrets refused from memory
	Misses     uint64 // authentications that waited for a load
	Loads      uint64 // loads started; Misses less Loads joined one
	Refusals   uint64 // loads in which the source did not confirm the token
	Errors     uint64 // loads that failed
	Discarded  uint64 // loads that were not stored, as an eviction came first or they were overdue
	Stored     uint64 // verdicts stored
	Evicted    uint64 // live entries that evictions and clearings removed
	Expired    uint64 // entries found to be past their time, and removed
	Displaced  uint64 // entries removed to make room

	Entries int // entries now, including expired ones which nobody has asked for
	Loading int // loads running now
}
