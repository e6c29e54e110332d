package server

import (
	"fmt"
	"time"
)

// relative returns a time in words, as seen from now.
func relative(t time.Time) string {
	if d := time.Until(t); d > 0 {
		return "in " + span(d)
	}
	return span(time.Since(t)) + " ago"
}

// span returns a duration in words, in the largest unit that is not longer.
func span(d time.Duration) string {
	units := []struct {
		name   string
		length time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"min", time.Minute}}
	d = max(d, 0)
	for _, unit := range units {
		if d >= unit.length {
			return fmt.Sprintf("%d %s", int((d+unit.length/2)/unit.length), unit.name)
		}
	}
	return fmt.Sprintf("%d s", int(d.Round(time.Second)/time.Second))
}
