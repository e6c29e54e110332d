package server

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/svctoken/svctoken/evict"
)

// A journal remembers the last evictions that operators asked for, and counts what
// went in all of them. The zero journal is empty.
type journal struct {
	mu      sync.Mutex // guards the fields below
	recent  []eviction // newest first
	evicted map[string]int
}

type eviction struct {
	Number int // from 1
	Time   time.Time
	User   string
	Report evict.Report
}

const journalLength = 20

// add returns the number of the eviction.
func (j *journal) add(user string, report evict.Report) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	number := 1
	if len(j.recent) > 0 {
		number = j.recent[0].Number + 1
	}
	j.recent = slices.Insert(j.recent, 0, eviction{number, time.Now(), user, report})
	j.recent = j.recent[:min(len(j.recent), journalLength)]
	if j.evicted == nil {
		j.evicted = make(map[string]int)
	}
	for cache, n := range report.Evicted {
		j.evicted[cache] += n
	}
	return number
}

// read returns the last evictions, newest first, and how many entries went from
// each cache in all evictions.
func (j *journal) read() (recent []eviction, evicted map[string]int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.recent), maps.Clone(j.evicted)
}
