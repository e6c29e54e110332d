// Command teeth shows that the tests of forgetting would notice if it broke. It
// applies deliberate breaks to a copy of the module, one at a time, and runs the
// tests until one fails: each break must make one fail.
//
//	go run -C internal/harness/lincheck ./teeth
//	go run -C internal/harness/lincheck ./teeth -match expired   # the breaks with this in their names
//	go run -C internal/harness/lincheck ./teeth -part 2/4        # every fourth, from the second on
//	go run -C internal/harness/lincheck ./teeth -all             # go on after the first package that fails
//
// It prints what killed each break, and killed/total; it exits with 1 if a break
// survives.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A suite is the tests of one package, some of which may notice a break.
type suite struct {
	name   string
	module string // the directory of its module
	dir    string // of the package, below the module
	args   []string
}

var suites = []suite{
	{name: "tokencache", module: ".", dir: "tokencache"},
	{name: "fair", module: ".", dir: "tokencache/internal/fair"},
	{name: "histories", module: "internal/harness/lincheck", dir: ".", args: []string{"-test.run=TestHistories", "-histories=20000"}},
	{name: "indexsource", module: ".", dir: "indexsource"},
	{name: "evict", module: ".", dir: "evict"},
	{name: "filesource", module: ".", dir: "filesource", args: []string{"-test.short"}}, // without the tests of what it costs
}

// timeLimit returns how long the tests of a suite may take, given their time on the
// unbroken code: tests that hang have failed, but tests on a busy machine have not.
func timeLimit(whole time.Duration) time.Duration { return 20*time.Second + 10*whole }

func main() {
	all := flag.Bool("all", false, "run the tests of all packages for each break, not only until one fails")
	match := flag.String("match", "", "apply only the breaks whose name contains this")
	part := flag.String("part", "1/1", "apply only every n-th break, from the i-th on: `i/n`")
	flag.Parse()
	var first, every int
	if n, err := fmt.Sscanf(*part, "%d/%d", &first, &every); n != 2 || first < 1 || first > every {
		fmt.Fprintf(os.Stderr, "teeth: -part %s: want i/n, with i from 1 to n: %v\n", *part, err)
		os.Exit(2)
	}
	var chosen []brk
	for i, b := range breaks {
		if i%every == first-1 && strings.Contains(b[0], *match) {
			chosen = append(chosen, b)
		}
	}
	if ok, err := run(chosen, *all); err != nil {
		fmt.Fprintln(os.Stderr, "teeth:", err)
		os.Exit(1)
	} else if !ok {
		os.Exit(1)
	}
}

// run tries the breaks, and reports whether each was killed.
func run(chosen []brk, all bool) (ok bool, err error) {
	temp, err := os.MkdirTemp("", "svctoken-teeth-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(temp)
	tree := filepath.Join(temp, "tree")
	if err := copyModule(tree, "../../.."); err != nil {
		return false, err
	}
	// Check all texts first, so that one that has gone from the code shows at once.
	for _, b := range breaks {
		if _, _, err := b.text(tree); err != nil {
			return false, fmt.Errorf("%s: %w", b[0], err)
		}
	}
	l := &lab{tree: tree, binary: filepath.Join(temp, "broken.test"), limits: make(map[string]time.Duration)}
	killed, began := 0, time.Now()
	for _, b := range chosen {
		by, err := l.try(b, all)
		switch {
		case err != nil:
			return false, fmt.Errorf("%s: %w", b[0], err)
		case len(by) > 0:
			killed++
			fmt.Printf("killed    %s\n          by %s\n", b[0], strings.Join(by, ", "))
		default:
			fmt.Printf("SURVIVED  %s\n", b[0])
		}
	}
	fmt.Printf("killed %d/%d, in %.0f s\n", killed, len(chosen), time.Since(began).Seconds())
	return killed == len(chosen) && killed > 0, nil
}

// A lab is a copy of the module in which breaks are tried.
type lab struct {
	tree   string
	binary string                   // of the tests
	limits map[string]time.Duration // of the suites that have run on the whole code
}

// try applies a break to the tree, undoes it, and returns the tests that failed in
// between. The broken package comes first: its tests fail soonest.
func (l *lab) try(b brk, all bool) (by []string, err error) {
	path, broken, err := b.text(l.tree)
	if err != nil {
		return nil, err
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = cmp.Or(err, os.WriteFile(path, whole, 0o666)) }()
	for _, s := range b.order() {
		if err := cmp.Or(os.WriteFile(path, whole, 0o666), l.prepare(s), os.WriteFile(path, broken, 0o666)); err != nil {
			return nil, err
		}
		test, err := l.run(s, l.limits[s.name])
		if err != nil {
			return nil, err
		}
		if test != "" {
			by = append(by, s.name+"."+test)
			if !all {
				break
			}
		}
	}
	return by, nil
}

// order returns the suites, the broken package's first.
func (b brk) order() []suite {
	order := slices.Clone(suites)
	slices.SortStableFunc(order, func(s, t suite) int {
		first := func(s suite) int {
			if s.dir == path.Dir(b[1]) {
				return 0
			}
			return 1
		}
		return first(s) - first(t)
	})
	return order
}

// prepare runs a suite on the whole code, once: its tests must pass.
func (l *lab) prepare(s suite) error {
	if l.limits[s.name] != 0 {
		return nil
	}
	began := time.Now()
	test, err := l.run(s, 10*time.Minute)
	if err == nil && test != "" {
		err = fmt.Errorf("the tests of the whole code: %s.%s has failed", s.name, test)
	}
	l.limits[s.name] = timeLimit(time.Since(began))
	return err
}

// run builds a suite's tests, runs them until one fails, and returns its name, or "" if
// all pass. A break that does not compile is an error, since it breaks nothing.
func (l *lab) run(s suite, limit time.Duration) (failed string, err error) {
	module := filepath.Join(l.tree, s.module)
	build := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-w -s", "-o", l.binary, "./"+s.dir)
	build.Dir = module
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("it does not compile: %w\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*limit)
	defer cancel()
	test := exec.CommandContext(ctx, l.binary, append([]string{"-test.failfast", "-test.timeout=" + limit.String()}, s.args...)...)
	test.Dir = filepath.Join(module, s.dir)
	test.WaitDelay = time.Second
	out, err := test.CombinedOutput()
	if err == nil {
		return "", nil
	}
	if m := failedTest.FindSubmatch(out); m != nil {
		return string(m[1]), nil
	}
	if m := hungTest.FindSubmatch(out); m != nil {
		return fmt.Sprintf("%s, by the time limit", m[1]), nil
	}
	return "a crash", nil
}

// What a test binary prints for a test that failed, and for one that was running when the
// time was up.
var (
	failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)
	hungTest   = regexp.MustCompile(`running tests:\s*(\S+)`)
)

// copyModule copies the files that Go and the tests read.
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

// text returns the path of the file that a break is about, and its text with the
// break. A break whose text is not there any more is an error: it has to follow the
// code.
func (b brk) text(tree string) (path string, broken []byte, err error) {
	path = filepath.Join(tree, b[1])
	data, err := os.ReadFile(path)
	if err != nil {
		return "", nil, err
	}
	text := string(data)
	for edit := range slices.Chunk(b[2:], 2) {
		if n := strings.Count(text, edit[0]); n != 1 {
			return "", nil, fmt.Errorf("%s has the text to break %d times, want once:\n%s", b[1], n, edit[0])
		}
		text = strings.Replace(text, edit[0], edit[1], 1)
	}
	return path, []byte(text), nil
}
