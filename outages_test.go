package svctoken_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	outageRow  = regexp.MustCompile(`(?m)^\| ([a-z-]+) \|.*\|$`)
	outageTest = regexp.MustCompile(`\{name: "([a-z-]+)"`)
)

// TestOutageRows: the table of outages in docs/options.md has the rows of TestOutages,
// in its order.
func TestOutageRows(t *testing.T) {
	names := func(of *regexp.Regexp, text string) (names []string) {
		for _, m := range of.FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
		return names
	}
	_, section, _ := strings.Cut(read(t, "docs/options.md"), "\n## During an outage\n")
	section, _, _ = strings.Cut(section, "\n## ")
	_, table, _ := strings.Cut(section, "| --- |")
	rows, tests := names(outageRow, table), names(outageTest, read(t, "tokencache/outage_test.go"))
	if len(tests) < 21 || !slices.Equal(rows, tests) {
		t.Errorf("the table's rows are %v, and the tests %v", rows, tests)
	}
}
