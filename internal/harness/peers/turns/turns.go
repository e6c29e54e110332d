// Package turns compares the speed of several ways of doing something on a machine
// that is busy with other things as well.
//
// The contestants take turns of a few milliseconds, forwards and then backwards, so that
// whatever slows the machine down slows all of them down. The processor's time of the
// thread, or of the process, counts, not the wall clock's: time in which others have the
// processor does not count. Garbage is collected between the rounds, and not during them.
//
// The ratio of two contestants' best rounds says what the code costs; the median and
// the quartiles of the ratios round by round say what it costs beside others, which
// take the processor's caches away.
package turns

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// turn is about how long a turn takes.
const turn = 2 * time.Millisecond

// A Contestant is one way of doing something.
type Contestant struct {
	Name    string
	N       int         // how often each turn does it; zero: so often that a turn takes two milliseconds
	Prepare func(n int) // called before each turn, untimed; may be nil
	Do      func(n int) // does it n times
}

// A Clock chooses the processor time that counts.
type Clock int

const (
	Thread  Clock = iota // of the calling goroutine, which keeps its thread: for what starts no goroutines
	Process              // of all goroutines
)

// Times are a contestant's nanoseconds for each call, round by round.
type Times struct {
	Name   string
	Rounds []float64
}

// Compare lets the contestants take turns, in so many rounds of two turns for each.
// If the system does not tell the processor's time, the clock on the wall
// counts. Not safe for concurrent use: it stops the garbage collector meanwhile.
func Compare(clock Clock, rounds int, contestants ...Contestant) []Times {
	if clock == Thread {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	times := make([]Times, len(contestants))
	often := make([]int, len(contestants))
	for i, c := range contestants {
		times[i].Name = c.Name
		often[i] = calibrate(clock, c)
	}
	for range rounds {
		runtime.GC()
		took := make([]time.Duration, len(contestants))
		for i, c := range contestants {
			took[i] += timed(clock, c, often[i])
		}
		for i, c := range slices.Backward(contestants) {
			took[i] += timed(clock, c, often[i])
		}
		for i := range times {
			times[i].Rounds = append(times[i].Rounds, float64(took[i].Nanoseconds())/float64(2*often[i]))
		}
	}
	return times
}

// calibrate returns how often a turn does it.
func calibrate(clock Clock, c Contestant) int {
	if c.N > 0 {
		timed(clock, c, c.N)
		return c.N
	}
	for n := 1; ; n *= 2 {
		if took := timed(clock, c, n); took >= turn/2 {
			return max(1, int(float64(n)*float64(turn)/float64(took)))
		}
	}
}

func timed(clock Clock, c Contestant, n int) time.Duration {
	if c.Prepare != nil {
		c.Prepare(n)
	}
	began := Now(clock)
	c.Do(n)
	return Now(clock) - began
}

// Best returns the nanoseconds of the best round.
func (t Times) Best() float64 { return slices.Min(t.Rounds) }

// Median returns the nanoseconds of the median round.
func (t Times) Median() float64 {
	_, median, _ := quartiles(t.Rounds)
	return median
}

// A Ratio compares a contestant with another.
type Ratio struct {
	Best           float64 // the ratio of the best rounds
	Q1, Median, Q3 float64 // quartiles of the ratios round by round
}

// Against returns how many times as long as o the contestant takes.
func (t Times) Against(o Times) Ratio {
	ratios := make([]float64, len(t.Rounds))
	for i := range ratios {
		ratios[i] = t.Rounds[i] / o.Rounds[i]
	}
	r := Ratio{Best: t.Best() / o.Best()}
	r.Q1, r.Median, r.Q3 = quartiles(ratios)
	return r
}

// String shows the best rounds' ratio, the median, and the quartiles.
func (r Ratio) String() string {
	return fmt.Sprintf("%.2f; median %.2f (%.2f to %.2f)", r.Best, r.Median, r.Q1, r.Q3)
}

func quartiles(values []float64) (q1, median, q3 float64) {
	s := slices.Sorted(slices.Values(values))
	at := func(part float64) float64 {
		x := part * float64(len(s)-1)
		i := int(x)
		if i+1 == len(s) {
			return s[i]
		}
		return s[i] + (x-float64(i))*(s[i+1]-s[i])
	}
	return at(0.25), at(0.5), at(0.75)
}
