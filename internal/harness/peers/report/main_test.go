package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/internal/harness/peers"
	"github.com/svctoken/svctoken/internal/harness/peers/turns"
)

// TestReplaceBlock: what people have written beside the figures stays.
func TestReplaceBlock(t *testing.T) {
	const page = "<!-- report: head -->\nold\n<!-- report: end of head -->\n\n## Missed\n\nwhy\n\n<!-- report: figures -->\nold\n<!-- report: end of figures -->\nlast\n"
	got, err := replaceBlock(page, "head", "\nnew\n")
	if err == nil {
		got, err = replaceBlock(got, "figures", "newer")
	}
	if want := strings.Replace(strings.Replace(page, "old", "new", 1), "old", "newer", 1); got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, without := range []string{"<!-- report: figures -->", "<!-- report: end of figures -->"} {
		if _, err := replaceBlock(strings.Replace(page, without, "", 1), "figures", "new"); err == nil {
			t.Errorf("without %s: got no error", without)
		}
	}
}

// TestFill: the paragraphs of the page are as wide as those of others.
func TestFill(t *testing.T) {
	half := strings.Repeat("x ", width/4)
	text := "## Title\n\n" + half + "\n" + half + "\nlast words.\n\n| a | " + half + half + "b |\n| --- | --- |\n\n`code`\n\nEnd."
	want := "## Title\n\n" + strings.TrimSpace(half+half) + "\nlast words.\n\n| a | " + half + half + "b |\n| --- | --- |\n\n`code`\n\nEnd."
	if diff := cmp.Diff(want, fill(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, fill(want)); diff != "" {
		t.Errorf("again (-want +got):\n%s", diff)
	}
}

// TestPageHasMarkers: the page itself can be written anew.
func TestPageHasMarkers(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", docs, "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"head", "figures"} {
		text, err := replaceBlock(string(data), name, "new")
		if err != nil || !strings.Contains(text, "## Missed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, test := range []struct {
		target target
		met    bool
	}{
		{atMost("a", 1.2, turns.Ratio{Best: 1.3, Median: 1.2}), true},
		{atMost("a", 1.2, turns.Ratio{Best: 1.3, Median: 1.21}), false},
		{limit("a", 0.2, 0.21, "%.2f ms"), false},
		{limit("a", 0.2, 0.2, "%.2f ms"), true},
	} {
		if test.target.met != test.met {
			t.Errorf("got %+v, want met: %t", test.target, test.met)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{999: "999", 1000: "1 000", 1e6: "1 000 000"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for ns, want := range map[float64]string{87: "87 ns", 1234: "1.23 µs", 5.6e6: "5.6 ms", 2e9: "2 s"} {
		if got := duration(ns); got != want {
			t.Errorf("%v: got %q, want %q", ns, got, want)
		}
	}
}

// TestGrowth: work that grows in proportion has 1 as its power, and takes as long for
// each piece.
func TestGrowth(t *testing.T) {
	g := peers.Growth{Work: true, Sizes: []int{10, 100, 1000}, Times: []float64{5, 50, 500}}
	if got := g.Exponent(); got < 0.999 || got > 1.001 {
		t.Errorf("got %v, want 1", got)
	}
	for _, each := range g.Each() {
		if each != 1 {
			t.Errorf("got %v for each, want 1", each)
		}
	}
}

func TestParseColdStart(t *testing.T) {
	c, err := parseColdStart("what", "| hash | confirmed |\n| --- | --- |\n| fast | 97 | 3 | 1 | 10ms | 2s | 1s |\n")
	if err != nil || c.away != 3 || c.failed != 1 || len(c.cells) != 6 {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := parseColdStart("what", "nothing"); err == nil {
		t.Error("no row: got no error")
	}
}
