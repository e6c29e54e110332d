package main

import "testing"

// TestTextsAreThere: a break whose text has gone from the code has to be moved.
func TestTextsAreThere(t *testing.T) {
	names := make(map[string]bool)
	for _, b := range breaks {
		if len(b) < 4 || len(b)%2 != 0 {
			t.Fatalf("%q has no pairs of texts", b)
		}
		if names[b[0]] {
			t.Errorf("%s: there are two breaks of that name", b[0])
		}
		names[b[0]] = true
		if _, _, err := b.text("../../../.."); err != nil {
			t.Errorf("%s: %v", b[0], err)
		}
	}
}
