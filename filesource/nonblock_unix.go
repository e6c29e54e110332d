//go:build unix

package filesource

import "syscall"

// nonBlocking is the flag of an opening that does not wait for the writer of a FIFO.
const nonBlocking = syscall.O_NONBLOCK
