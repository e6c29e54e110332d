package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// runReadme runs the first whole program of the page in an empty module, as its reader
// would, and compares its output with the page's.
func runReadme(pl place, page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	source, want, err := firstProgram(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	run, _, err := pl.module("readme", source)
	if err != nil {
		return err
	}
	for _, step := range [][]string{{"go", "get", rootPath + "@" + pl.version}, {"go", "mod", "tidy"}} {
		if _, err := run(step...); err != nil {
			return err
		}
	}
	for range 2 { // a second run must work too
		got, err := run("go", "run", ".")
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s: its program prints\n%swant\n%s", page, got, want)
		}
	}
	return nil
}

// firstProgram returns the first Go program of a page, and its output: the text of the
// next block.
func firstProgram(page string) (source, output string, err error) {
	_, rest, ok := strings.Cut(page, "```go\npackage main\n")
	source, rest, closed := strings.Cut(rest, "```\n")
	_, rest, shown := strings.Cut(rest, "```\n")
	output, _, ended := strings.Cut(rest, "```\n")
	if !ok || !closed || !shown || !ended {
		return "", "", errors.New("it has no block of Go that begins with package main, with a block of what it prints after it")
	}
	return "package main\n" + source, output, nil
}
