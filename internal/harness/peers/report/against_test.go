package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/internal/harness/peers/turns"
)

// TestAgainst: a commit against itself takes about the same time.
func TestAgainst(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two versions")
	}
	var out strings.Builder
	if err := against("HEAD", leastRounds, &out); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	for _, o := range operations {
		var here, there, best, median float64
		_, row, _ := strings.Cut(out.String(), "| "+o.name+" |")
		if _, err := fmt.Sscanf(row, "%f | %f | %f × (%f", &here, &there, &best, &median); err != nil {
			t.Errorf("%s: %v in %q", o.name, err, row)
		} else if here <= 0 || there <= 0 || median < 0.6 || median > 1.6 {
			t.Errorf("%s: HEAD takes %.2f times as long as itself", o.name, median)
		}
	}
}

func TestAgainstNothing(t *testing.T) {
	if err := against("no-such-commit", leastRounds, new(strings.Builder)); err == nil || !strings.Contains(err.Error(), "no-such-commit") {
		t.Errorf("a commit that does not exist: got %v", err)
	}
	if err := against("HEAD", leastRounds-1, new(strings.Builder)); err == nil {
		t.Error("too few rounds: got no error")
	}
}

func TestPrintAgainst(t *testing.T) {
	times := make([][2]turns.Times, len(operations))
	for i := range times {
		times[i][0].Rounds = []float64{3, 2, 30}
		times[i][1].Rounds = []float64{2, 2, 2}
	}
	var out strings.Builder
	printAgainst(&out, "abc", 3, times)
	if want := "| hit | 3 | 2 | 1.000 × (1.500; 1.250 to 8.250) |"; !strings.Contains(out.String(), want) {
		t.Errorf("got %s, want %s", out.String(), want)
	}
}
