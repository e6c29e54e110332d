package svctoken_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
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

// TestPageWidth: pages are wrapped at one width, so that a change shows as the lines that
// it changes. A changed word may go beyond it; tables, pictures and code are as wide as
// they need to be.
func TestPageWidth(t *testing.T) {
	const width, beyond = 140, 20
	pages, err := filepath.Glob("docs/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("got pages %v, %v", pages, err)
	}
	for _, page := range append(pages, "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md") {
		for i, part := range strings.Split(read(t, page), "```") {
			if i%2 == 1 {
				continue // code
			}
			for line := range strings.Lines(part) {
				if wide := strings.HasPrefix(line, "|") || strings.HasPrefix(line, "!["); !wide && utf8.RuneCountInString(line) > width+beyond {
					t.Errorf("%s: wrap at %d columns: %s", page, width, line)
				}
			}
		}
	}
}

// TestPagesOfGuides: a guide can be read in ten minutes, at 200 words a minute and two
// seconds a line of code. What somebody only looks up belongs on a page of reference, what
// was measured on one of evidence.
func TestPagesOfGuides(t *testing.T) {
	const words, lines, most = 200., 30., 10. // a minute, a minute, minutes
	for _, guide := range []string{"quickstart", "embedding", "options", "sources", "files", "sql", "fleet", "in-front"} {
		var prose, code float64
		for i, part := range strings.Split(read(t, "docs/"+guide+".md"), "```") {
			if i%2 == 1 {
				code += float64(strings.Count(part, "\n"))
			} else {
				prose += float64(len(strings.Fields(addresses.ReplaceAllString(part, " "))))
			}
		}
		if minutes := prose/words + code/lines; minutes > most {
			t.Errorf("docs/%s.md takes %.1f minutes to read (%.0f words, %.0f lines of code), want at most %.0f", guide, minutes, prose, code, most)
		}
	}
}

// addresses are those of links, and the marks of tables, which nobody reads.
var addresses = regexp.MustCompile(`\]\([^)]*\)|\|`)

// dedent takes the white space off the beginning of each line.
func dedent(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(strings.TrimLeft(line, "\t "))
	}
	return out.String()
}
