package tokencache_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// TestTheMutexGivesWay: between two steps of what gives way, somebody who waits for the
// mutex has it.
func TestTheMutexGivesWay(t *testing.T) {
	var m tokencache.Mutex
	var had atomic.Int32
	for step := range int32(1000) {
		m.Lock()
		waits := make(chan struct{})
		go func() {
			defer close(waits)
			m.Lock()
			had.Add(1)
			m.Unlock()
		}()
		for m.Waiting() == 0 {
			runtime.Gosched()
		}
		m.GiveWay()
		m.Lock()
		if got := had.Load(); got != step+1 {
			t.Fatalf("step %d: the waiter had the mutex %d times", step, got)
		}
		m.Unlock()
		<-waits
	}
}

// TestTheMutexUnderAStorm: what gives way waits for nobody who does not come, whether
// others give way as well or not, and one at a time holds the mutex.
func TestTheMutexUnderAStorm(t *testing.T) {
	var m tokencache.Mutex
	var all sync.WaitGroup
	count := 0
	for i := range 8 {
		all.Go(func() {
			for range 2000 {
				m.Lock()
				count++
				if i%2 == 0 {
					m.GiveWay()
				} else {
					m.Unlock()
				}
			}
		})
	}
	all.Wait()
	if count != 8*2000 {
		t.Errorf("counted %d, want %d", count, 8*2000)
	}
}
