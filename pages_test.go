package svctoken_test

import (
	"strings"
	"testing"
)

// TestPages: each block of code in these pages is compiled, as a part of
// pages_example_test.go.
func TestPages(t *testing.T) {
	src := dedent(read(t, "pages_example_test.go"))
	blocks := 0
	for _, page := range []string{
		"docs/quickstart.md", "docs/embedding.md", "docs/options.md", "docs/sources.md",
		"docs/files.md", "docs/in-front.md", "docs/comparison.md",
	} {
		for i, part := range strings.Split(read(t, page), "```go\n") {
			block, _, closed := strings.Cut(part, "```")
			if i == 0 {
				continue // the text before the first block
			}
			blocks++
			if !closed || !strings.Contains(src, dedent(block)) {
				t.Errorf("%s has a block which pages_example_test.go has not:\n%s", page, block)
			}
		}
	}
	if blocks < 19 {
		t.Errorf("got %d blocks, want at least 19", blocks)
	}
}

// dedent takes the white space off the beginning of each line.
func dedent(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(strings.TrimLeft(line, "\t "))
	}
	return out.String()
}
