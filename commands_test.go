package svctoken_test

import (
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documented matches go test, as a page quotes it: the directory, the package and the test.
var documented = regexp.MustCompile("`go (?:-C (\\S+) )?test (?:-C (\\S+) )?([^`]*)`")

// TestDocumentedTests: each test that a page says how to run is there.
func TestDocumentedTests(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "SECURITY.md") {
		for _, m := range documented.FindAllStringSubmatch(read(t, page), -1) {
			dir, name := m[1]+m[2], ""
			args := strings.Fields(m[3])
			for i, arg := range args {
				switch {
				case arg == "-run" && i+1 < len(args):
					name, _, _ = strings.Cut(strings.Trim(args[i+1], "'"), "/")
				case strings.HasPrefix(arg, "./") && arg != "./...":
					dir = path.Join(dir, arg)
				}
			}
			if !strings.HasPrefix(name, "Test") {
				continue // benchmarks, or all tests
			}
			checked++
			if !hasTest(testsIn(t, path.Join(".", dir)), name) {
				t.Errorf("%s: %s: %s has no test whose name begins with %s", page, m[0], dir, name)
			}
		}
	}
	if checked < 20 {
		t.Errorf("checked %d commands, want at least 20", checked)
	}
}

// hasTest reports whether -run with this name runs a test.
func hasTest(tests map[string]bool, name string) bool {
	for test := range tests {
		if strings.HasPrefix(test, name) {
			return true
		}
	}
	return false
}
