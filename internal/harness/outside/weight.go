package main

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// A weight is what a module adds to a user's module that imports each of its packages.
type weight struct {
	module   string
	packages int
	modules  int   // that go list -m all prints, without the user's own
	lines    int   // of the user's go.mod
	bytes    int64 // of the program
}

// String is the weight's row in the table.
func (w weight) String() string {
	name := strings.TrimPrefix(strings.TrimPrefix(w.module, rootPath), "/")
	if name == "" {
		name = "the root"
	}
	return fmt.Sprintf("| %s | %d | %d | %d | %.1f |", name, w.packages, w.modules, w.lines, float64(w.bytes)/1e6)
}

const tableHead = "| module | packages | modules | lines of go.mod | MB of the program |\n| --- | --- | --- | --- | --- |\n"

// replaceTable returns the page with these rows in the table.
func replaceTable(page string, weights []weight) (string, error) {
	before, rest, ok := strings.Cut(page, tableHead)
	if !ok {
		return "", fmt.Errorf("it has no table that begins with\n%s", tableHead)
	}
	for strings.HasPrefix(rest, "|") {
		_, rest, _ = strings.Cut(rest, "\n")
	}
	var rows strings.Builder
	for _, w := range weights {
		rows.WriteString(w.String() + "\n")
	}
	return before + tableHead + rows.String() + rest, nil
}

func writeWeights(path string, weights []weight) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := replaceTable(string(page), weights)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, []byte(text), 0o666)
}

var size = regexp.MustCompile(`(?m)\| ([0-9.]+) \|$`)

// checkWeights compares the page's table with the measured weights: counts must be equal,
// and sizes within a tenth, since they differ with the version of Go.
func checkWeights(path string, weights []weight) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	now, err := replaceTable(string(page), weights)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	saidSizes, nowSizes := size.FindAllStringSubmatch(string(page), -1), size.FindAllStringSubmatch(now, -1)
	same := size.ReplaceAllString(string(page), "") == size.ReplaceAllString(now, "") && len(saidSizes) == len(nowSizes)
	for i := 0; same && i < len(nowSizes); i++ {
		said, err1 := strconv.ParseFloat(saidSizes[i][1], 64)
		measured, err2 := strconv.ParseFloat(nowSizes[i][1], 64)
		same = err1 == nil && err2 == nil && math.Abs(said-measured) <= measured/10
	}
	if !same {
		return fmt.Errorf("%s says something else: go run -C internal/harness ./outside -write", path)
	}
	return nil
}
