package tokencache

import (
	"sync/atomic"
	"unsafe"
)

// A hitCounter counts hits. One shared word would be written by every core for every hit,
// and would cost more than the rest of the hit (BenchmarkHit with -cpu 1,2 shows it); so
// there are many, each on a cache line of its own, and a goroutine uses the one that its
// stack's address picks. The counts are exact.
type hitCounter struct {
	stripes [stripes]struct {
		hits, mismatches, refusals atomic.Uint64
		_                          [cacheLine - 24]byte
	}
}

const stripes = 64

// stripe picks a stripe. It uses unsafe to learn the address of a local variable, as a
// number that is never made a pointer again: goroutines that run at the same time are
// on different stacks, and the language offers nothing else that differs between cores.
func stripe() int {
	var local byte
	page := uint64(uintptr(unsafe.Pointer(&local))) >> 11
	return int(page * 0x9e3779b97f4a7c15 >> 58)
}

// hit counts a hit, and returns the count of its stripe.
func (c *hitCounter) hit() uint64 { return c.stripes[stripe()].hits.Add(1) }

func (c *hitCounter) mismatch() { c.stripes[stripe()].mismatches.Add(1) }
func (c *hitCounter) refusal()  { c.stripes[stripe()].refusals.Add(1) }

// read adds the counts to st.
func (c *hitCounter) read(st *Stats) {
	for i := range c.stripes {
		st.Hits += c.stripes[i].hits.Load()
		st.Mismatches += c.stripes[i].mismatches.Load()
		st.Absent += c.stripes[i].refusals.Load()
	}
}

// cacheLine is how far apart to keep what hits read from what others write: a write
// takes the whole line away from all other cores (BenchmarkBesideMisses in
// internal/harness/peers).
const cacheLine = 64
