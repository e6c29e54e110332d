package tokencache

// Stats are a cache's counters since it was made, and its present sizes. The
// counters of what is answered from memory are read one after the other while they
// go on, everything else at one instant.
type Stats struct {
	Hits       uint64 `json:"hits"`       // authentications confirmed from memory
	Mismatches uint64 `json:"mismatches"` // wrong secrets for a remembered name, refused from memory
	Absent     uint64 `json:"absent"`     // refused from memory, as the source had said that it does not hold the name, or that the token is disabled or expired
	Misses     uint64 `json:"misses"`     // authentications that waited for a load
	Loads      uint64 `json:"loads"`      // loads begun; one for each group of misses that share it, and refreshes
	Refusals   uint64 `json:"refusals"`   // loads in which the source did not confirm the token
	Errors     uint64 `json:"errors"`     // loads that failed
	Discarded  uint64 `json:"discarded"`  // loads that were not stored, as an eviction or Close came first, they took too long, or nobody waited any more
	Stored     uint64 `json:"stored"`     // verdicts stored
	Refreshed  uint64 `json:"refreshed"`  // of these, stored ahead of an expiry
	Stale      uint64 `json:"stale"`      // authentications confirmed past the time, as the source did not answer
	Evicted    uint64 `json:"evicted"`    // live entries that evictions and clearings removed
	Expired    uint64 `json:"expired"`    // entries found to be past their time, and removed
	Displaced  uint64 `json:"displaced"`  // entries removed to make room

	Entries   int `json:"entries"`   // verdicts remembered now, including expired ones which have not been found yet
	Loading   int `json:"loading"`   // loads reading now
	Waiting   int `json:"waiting"`   // loads that wait for their turn to read
	Abandoned int `json:"abandoned"` // loads that run on, though they have taken too long or the cache is closed
}

// GroupStats are how a group's authentications have ended since it was made, those
// through a single [Cache] included, and what hashing is going on.
type GroupStats struct {
	Confirmed        uint64 `json:"confirmed"`          // from memory or by a source
	Refused          uint64 `json:"refused"`            // with ErrRefused
	NotServiceTokens uint64 `json:"not_service_tokens"` // with ErrNotServiceToken
	Overloaded       uint64 `json:"overloaded"`         // with ErrOverloaded
	Closed           uint64 `json:"closed"`             // with ErrClosed
	GaveUp           uint64 `json:"gave_up"`            // without an answer, as the caller's context had ended
	Lapsed           uint64 `json:"lapsed"`             // without an answer, as the group's lease had lapsed
	NoAnswer         uint64 `json:"no_answer"`          // with another NoAnswerError

	Hashing int `json:"hashing"` // password hashes being computed now
	Waiting int `json:"waiting"` // loads that wait for their turn to compute one
}
