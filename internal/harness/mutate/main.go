// Command mutate finds out what a package's tests notice. It makes random changes to the
// package's code, one at a time, and runs the package's own tests against each: tests
// that still pass have let the change survive.
//
//	go run -C internal/harness/mutate . -n 150 -seed 1 ./filesource
//	go run -C internal/harness/mutate . -at 'edit.go:123$' ./filesource   # each change of one line
//
//	go run -C internal/harness/mutate . -tests ./internal/harness/enginetest ./indexsource/sqlindex
//
// The packages are named by their directories below the repository's root, and so are
// the packages of -tests, whose tests are run after a package's own: those of a package
// with expensive dependencies may live in another module. The changes: a
// statement is deleted, or swapped with the next; an operand, an argument, an element of a
// composite literal or a case is left out; a condition is negated; a loop runs once; a
// constant is another. A change counts if it compiles, to other machine code than the
// unchanged package and all changes before it: so nothing counts twice, and nothing that
// the compiler shows to be equivalent. Nor does a swap of x.Lock() and defer x.Unlock()
// count, if x is a name or a field: the deferred call still runs at the function's end.
//
// It works on a copy, prints each survivor with its place and its lines, and exits
// with 1 if fewer than -least percent were killed in a package.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"time"
)

// Options are the values of the flags.
type options struct {
	root     string
	n        int
	seed     uint64
	least    float64
	parallel int
	timeout  time.Duration
	at       string
	race     bool
	noSwaps  bool
	short    bool
	tests    string
	verbose  bool
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", "../../..", "the repository's `directory`")
	flag.IntVar(&o.n, "n", 100, "how many changes to try in each package")
	flag.Uint64Var(&o.seed, "seed", 1, "which changes to choose")
	flag.Float64Var(&o.least, "least", 0, "fail when fewer than this `percentage` are killed")
	flag.IntVar(&o.parallel, "parallel", 1, "how many changes to test at a time")
	flag.DurationVar(&o.timeout, "timeout", 0, "end the tests of a change after this time, as killed (default: 20s and 4 times what the unchanged code takes)")
	flag.StringVar(&o.at, "at", "", "only changes of places, as in directory/file.go:123, which match this `regexp`")
	flag.BoolVar(&o.race, "race", false, "run the tests under the race detector, which notices changes of locking")
	flag.BoolVar(&o.noSwaps, "noswaps", false, "swap no statements: nobody can tell the order of many that do not depend on each other")
	flag.BoolVar(&o.short, "short", false, "run the tests with -short")
	flag.StringVar(&o.tests, "tests", "", "run the tests of these `packages` as well, separated by commas, after each package's own")
	flag.BoolVar(&o.verbose, "v", false, "print killed changes as well")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := run(ctx, o, flag.Args(), os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run tries each package, and reports whether each reached the least percentage.
func run(ctx context.Context, o options, dirs []string, out io.Writer) (ok bool, err error) {
	at, err := regexp.Compile(o.at)
	if err != nil {
		return false, err
	}
	if len(dirs) == 0 {
		return false, fmt.Errorf("name the packages, as in ./filesource")
	}
	temp, err := os.MkdirTemp("", "svctoken-mutate-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(temp)
	tree := filepath.Join(temp, "tree")
	if err := copyTree(tree, o.root); err != nil {
		return false, err
	}
	ok = true
	for _, dir := range dirs {
		reached, err := runPackage(ctx, o, filepath.ToSlash(filepath.Clean(dir)), tree, at, out)
		if err != nil {
			return false, fmt.Errorf("%s: %w", dir, err)
		}
		ok = ok && reached
	}
	return ok, nil
}

// runPackage tries n changes of one package, in rounds: a change that turns out not to
// count is replaced in the next round.
func runPackage(ctx context.Context, o options, dir, tree string, at *regexp.Regexp, out io.Writer) (reached bool, err error) {
	p, err := load(ctx, tree, dir)
	if err != nil {
		return false, err
	}
	l := &lab{pkg: p, timeout: o.timeout, race: o.race, short: o.short, seen: make(map[[32]byte]bool)}
	if l.suites, err = suites(ctx, tree, p, o.tests); err != nil {
		return false, err
	}
	if l.work, err = os.MkdirTemp(filepath.Dir(tree), "work-"); err != nil {
		return false, err
	}
	if err := l.baseline(ctx); err != nil {
		return false, err
	}
	all := p.changes(o.seed, at, !o.noSwaps)
	var score score
	for score.total() < o.n && len(all) > 0 {
		var round []*change
		round, all = p.choose(all, o.n-score.total())
		err := l.tryAll(ctx, round, o.parallel, func(t *trial) {
			score.add(t.fate)
			if t.fate == survived || o.verbose && t.fate != discounted {
				fmt.Fprintf(out, "%s\n", t)
			}
		})
		if err != nil {
			return false, err
		}
	}
	percentage := 100 * float64(score.killed) / float64(max(score.total(), 1))
	fmt.Fprintf(out, "%s: killed %d/%d (%.0f %%), %d of them by the time limit; %d more did not count\n", dir, score.killed, score.total(), percentage, score.late, score.discounted)
	if score.total() == 0 {
		return false, fmt.Errorf("there is nothing to change")
	}
	return percentage >= o.least, nil
}

// A score counts the fates of the changes.
type score struct{ killed, late, survived, discounted int }

func (s *score) total() int { return s.killed + s.survived }

func (s *score) add(f fate) {
	switch f {
	case killed:
		s.killed++
	case killedLate:
		s.killed++
		s.late++
	case survived:
		s.survived++
	case discounted:
		s.discounted++
	}
}

// limit returns how long the tests of a change may take.
func limit(asked, unchanged time.Duration) time.Duration {
	return cmp.Or(asked, 20*time.Second+4*unchanged)
}
