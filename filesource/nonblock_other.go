//go:build !unix

package filesource

// nonBlocking is no flag here: js and wasip1 do not have it, and no opening waits.
const nonBlocking = 0
