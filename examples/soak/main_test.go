package main

import (
	"strings"
	"testing"
	"time"
)

// TestSoak: a short run of all attacks has no wrong verdict, the counters add up, good
// tokens get their turns, and nothing is left.
func TestSoak(t *testing.T) {
	var out strings.Builder
	if !run(t.Context(), &out, options{total: 3300 * time.Millisecond, attackers: 16, bcrypt: 10}) {
		t.Error("a promise was not kept")
	}
	t.Log(out.String())
}
