package main

import (
	"os"
	"testing"
	"time"
)

// TestSoak: a short run of all attacks has no wrong verdict, and leaves nothing
// running.
func TestSoak(t *testing.T) {
	if !run(t.Context(), os.Stdout, 4*time.Second, 16) {
		t.Error("a verdict was wrong, or something was left running")
	}
}
