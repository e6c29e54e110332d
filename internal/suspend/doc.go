// Package suspend tells how long the machine has been suspended, which the clock of
// [time.Now] does not count.
package suspend
