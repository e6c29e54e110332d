package svctoken_test

import (
	"strings"
	"testing"
)

// TestPages: each block of code in these pages is compiled, as a part of
// pages_example_test.go, here or in the module that the block is about.
func TestPages(t *testing.T) {
	var src strings.Builder
	for _, path := range []string{
		"pages_example_test.go", "fleet/fleetnats/natstest/pages_example_test.go", "fleet/fleetsql/pages_example_test.go",
		"indexsource/sqlindex/example_test.go",
	} {
		src.WriteString(dedent(read(t, path)))
	}
	blocks := 0
	for _, page := range []string{
		"docs/quickstart.md", "docs/embedding.md", "docs/options.md", "docs/sources.md",
		"docs/files.md", "docs/sql.md", "docs/fleet.md", "docs/in-front.md", "docs/comparison.md",
	} {
		for i, part := range strings.Split(read(t, page), "```go\n") {
			block, _, closed := strings.Cut(part, "```")
			if i == 0 {
				continue // the text before the first block
			}
			blocks++
			if !closed || !strings.Contains(src.String(), dedent(block)) {
				t.Errorf("%s has a block that no example compiles:\n%s", page, block)
			}
		}
	}
	if blocks < 23 {
		t.Errorf("got %d blocks, want at least 23", blocks)
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
