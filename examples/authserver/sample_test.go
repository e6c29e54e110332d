package main

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/examples/authserver/servertest"
)

// TestSampleLines runs what the server prints, line by line, as a newcomer does: a miss
// and then a hit of each cache, a clearing and then a miss, and something to see in the
// figures.
func TestSampleLines(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	p := servertest.Start(t)
	var lines []string
	for {
		line, err := p.Stdout.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "curl ") {
			lines = append(lines, line)
		}
		if line == p.URL+"/" {
			break // the last
		}
	}
	if len(lines) != 8 {
		t.Fatalf("got %d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	run := func(line string) string {
		t.Helper()
		out, err := exec.Command("sh", "-c", line).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return string(out)
	}
	authenticate := func(line, cache, fromMemory string) {
		t.Helper()
		got := run(line)
		for _, want := range []string{"200 OK", "X-Svctoken-Cache: " + cache, "X-Svctoken-From-Memory: " + fromMemory} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in:\n%s", want, got)
			}
		}
	}
	for i, cache := range []string{"file", "index"} {
		authenticate(lines[i], cache, "false")
		authenticate(lines[i], cache, "true")
	}
	for _, line := range lines[2:5] {
		if got := run(line); !strings.Contains(got, `"successful":1`) {
			t.Errorf("%s: got %s", line, got)
		}
	}
	authenticate(lines[0], "file", "false")
	authenticate(lines[1], "index", "false")
	if got := run(lines[5]); !strings.Contains(got, `{"created":true`) {
		t.Errorf("%s: got %s", lines[5], got)
	}
	if got := run(lines[6]); !strings.Contains(got, `{"found":true}`) {
		t.Errorf("%s: got %s", lines[6], got)
	}
	figures := run(lines[7])
	for _, name := range []string{"hits", "misses", "stored", "evicted"} {
		if got := regexp.MustCompile(`"`+name+`": [1-9]`).FindAllString(figures, -1); len(got) != 2 {
			t.Errorf("%s: got %q, want some in both caches:\n%s", name, got, figures)
		}
	}
}
