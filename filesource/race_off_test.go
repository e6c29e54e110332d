//go:build !race

package filesource_test

const raceDetector = false
