package tokencache

// Stats are a cache's counters since it was made, and its present sizes. The
// counters of hits are read one after the other while they go on, everything
// else at one instant.
type Stats struct {
	Hits       uint64 `json:"hits"`       // authentications confirmed from memory
	Mismatches uint64 `json:"mismatches"` // wrong secrets refused from memory
	Misses     uint64 `json:"misses"`     // authentications that waited for a load
	Loads      uint64 `json:"loads"`      // loads started; Misses less Loads joined one
	Refusals   uint64 `json:"refusals"`   // loads in which the source did not confirm the token
	Errors     uint64 `json:"errors"`     // loads that failed
	Discarded  uint64 `json:"discarded"`  // loads that were not stored, as an eviction came first or they were overdue
	Stored     uint64 `json:"stored"`     // verdicts stored
	Evicted    uint64 `json:"evicted"`    // live entries that evictions and clearings removed
	Expired    uint64 `json:"expired"`    // entries found to be past their time, and removed
	Displaced  uint64 `json:"displaced"`  // entries removed to make room

	Entries int `json:"entries"` // entries now, including expired ones which have not been found yet
	Loading int `json:"loading"` // loads running now
}
