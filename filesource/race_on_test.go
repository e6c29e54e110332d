//go:build race

package filesource_test

// raceDetector reports that the race detector looks on. Tests that change a system
// call, or a clock, under a running poller are left out then.
const raceDetector = true
