// Package suspend tells how long the machine has slept, which the clock of
// [time.Now] does not count.
package suspend
