//go:build !unix

package filesource

// nonBlocking is zero on js and wasip1: they have no such flag, and opening a file does
// not wait there.
const nonBlocking = 0
