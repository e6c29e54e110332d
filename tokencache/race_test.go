//go:build race

package tokencache_test

const raceDetector = true
