// Command teeth shows that the tests of forgetting would notice if it broke. It
// applies deliberate breaks to a copy of the module, one at a time, and runs the
// tests: each break must make them fail.
//
//	go run -C internal/harness/lincheck ./teeth         # until the first test that fails
//	go run -C internal/harness/lincheck ./teeth -all    # all tests for each break
//	go run -C internal/harness/lincheck ./teeth -part 2/4
//	go run -C internal/harness/lincheck ./teeth -most 12
//
// It prints killed/total, and exits with 1 if a break survives.
package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A suite is a set of tests that may notice a break.
type suite struct {
	name string
	args []string
}

var suites = []suite{
	{"unit", []string{"test", "-timeout", "60s", "./tokencache", "./filesource", "./indexsource", "./evict"}},
	{"histories", []string{"-C", "internal/harness/lincheck", "test", "-timeout", "120s", ".", "-run", "TestHistories", "-histories", "14000"}},
}

func main() {
	all := flag.Bool("all", false, "run all tests for each break, not only until one fails")
	match := flag.String("match", "", "apply only the breaks whose name contains this")
	part := flag.String("part", "1/1", "apply only every n-th break, from the i-th on: `i/n`")
	most := flag.Int("most", len(breaks), "apply the first so many breaks")
	flag.Parse()
	var first, every int
	if n, err := fmt.Sscanf(*part, "%d/%d", &first, &every); n != 2 || first < 1 || first > every {
		fmt.Fprintf(os.Stderr, "teeth: -part %s: want i/n, with i from 1 to n: %v\n", *part, err)
		os.Exit(2)
	}
	killed, total := 0, 0
	for i, b := range breaks[:min(*most, len(breaks))] {
		if i%every != first-1 || !strings.Contains(b.name, *match) {
			continue
		}
		total++
		by, err := try(b, *all)
		if err != nil {
			fmt.Fprintf(os.Stderr, "teeth: %s: %v\n", b.name, err)
			os.Exit(1)
		}
		if len(by) > 0 {
			killed++
			fmt.Printf("killed by %-16s %s\n", strings.Join(by, ", "), b.name)
		} else {
			fmt.Printf("SURVIVED                  %s\n", b.name)
		}
	}
	fmt.Printf("killed %d/%d\n", killed, total)
	if killed < total || total == 0 {
		os.Exit(1)
	}
}

// try applies a break to a copy, and returns the suites that failed.
func try(b brk, all bool) (by []string, err error) {
	dir, err := os.MkdirTemp("", "svctoken-teeth-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := copyModule(dir, "../../.."); err != nil {
		return nil, err
	}
	if err := b.apply(dir); err != nil {
		return nil, err
	}
	if out, err := command(dir, "vet", "./tokencache", "./filesource", "./indexsource").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	for _, s := range suites {
		if err := command(dir, s.args...).Run(); err != nil {
			by = append(by, s.name)
			if !all {
				break
			}
		}
	}
	return by, nil
}

func command(dir string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Cancel = func() error { cancel(); return cmd.Process.Kill() }
	return cmd
}

// copyModule copies what Go and its tests read.
func copyModule(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "peers"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o777)
		case !d.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o666)
	})
}

// apply makes the break in the copy. A break whose text is not there any more is
// an error: it has to follow the code.
func (b brk) apply(dir string) error {
	path := filepath.Join(dir, b.file)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := strings.Count(string(data), b.old); n != 1 {
		return fmt.Errorf("%s has the text to break %d times, want once:\n%s", b.file, n, b.old)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(data), b.old, b.new, 1)), 0o666)
}
