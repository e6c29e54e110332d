package svctoken_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	trapsFolder = regexp.MustCompile("`([a-z0-9/]+)` (Test[A-Za-z0-9_]+(?:, Test[A-Za-z0-9_]+)*)")
	trapsName   = regexp.MustCompile(`\bTest[A-Za-z0-9_]+\b`)
)

// TestTraps: each line of docs/traps.md names at least one test, and each test that it
// names is in the folder before it.
func TestTraps(t *testing.T) { namesTests(t, "docs/traps.md", 2, 48) }

// TestReports: so does each line of docs/reports.md.
func TestReports(t *testing.T) { namesTests(t, "docs/reports.md", 3, 29) }

// namesTests checks the tests in the last of so many cells of each row of a page's tables,
// of which there are so many at least.
func namesTests(t *testing.T, page string, cells, least int) {
	t.Helper()
	rows, lines := 0, strings.Split(read(t, page), "\n")
	for i, line := range lines {
		const rule = "| --- "
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, rule) || strings.HasPrefix(lines[i+1], rule) {
			continue
		}
		rows++
		row := strings.Split(line, " | ")
		if len(row) != cells {
			t.Errorf("a row of %d cells: %s", len(row), line)
			continue
		}
		namesTestsIn(t, row)
	}
	if rows < least {
		t.Errorf("got %d rows, want at least %d", rows, least)
	}
}

// namesTestsIn checks the tests in the last cell of a row.
func namesTestsIn(t *testing.T, row []string) {
	t.Helper()
	last, checked := row[len(row)-1], 0
	for _, m := range trapsFolder.FindAllStringSubmatch(last, -1) {
		tests := testsIn(t, m[1])
		for _, name := range trapsName.FindAllString(m[2], -1) {
			checked++
			if !tests[name] {
				t.Errorf("%s has no test %s, for: %s", m[1], name, row[0])
			}
		}
	}
	if named := len(trapsName.FindAllString(last, -1)); checked == 0 || checked != named {
		t.Errorf("checked %d of %d tests of: %s", checked, named, row)
	}
}

// TestSecurityNamesTests: what stands in SECURITY.md's table as a test is one.
func TestSecurityNamesTests(t *testing.T) {
	checked := 0
	for _, m := range trapsFolder.FindAllStringSubmatch(read(t, "SECURITY.md"), -1) {
		tests := testsIn(t, m[1])
		for _, name := range trapsName.FindAllString(m[2], -1) {
			checked++
			if !tests[name] {
				t.Errorf("%s has no test %s", m[1], name)
			}
		}
	}
	if checked < 14 {
		t.Errorf("checked %d names, want at least 14", checked)
	}
}

var testFunc = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(t \*testing\.T\)`)

// testsIn returns the names of a folder's tests.
func testsIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.FromSlash(dir), "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Errorf("%s has no tests: %v", dir, err)
	}
	names := make(map[string]bool)
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testFunc.FindAllSubmatch(src, -1) {
			names[string(m[1])] = true
		}
	}
	return names
}
