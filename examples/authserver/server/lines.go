package server

import (
	"sync"
	"time"
)

// A lineLimit bounds how many lines of one kind are logged: some at once, and one more
// each second. The zero lineLimit is ready. It is safe for concurrent use by multiple
// goroutines.
type lineLimit struct {
	mu       sync.Mutex // guards the fields below
	bucket   bucket
	unlogged int
}

var lineAllowance = allowance{burst: 50, every: time.Second}

// allow reports whether a line may be logged now, and how many were dropped since the
// last one.
func (l *lineLimit) allow() (ok bool, unlogged int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lineAllowance.wait(&l.bucket, time.Now()) > 0 {
		l.unlogged++
		return false, 0
	}
	l.bucket.left--
	unlogged, l.unlogged = l.unlogged, 0
	return true, unlogged
}
