package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/svctoken/svctoken/internal/harness/peers/turns"
)

// leastRounds is how many rounds a median needs so that other programs on the machine do
// not move it.
const leastRounds = 21

// operations are those by which two versions are compared, and how often a turn does
// each.
var operations = []struct {
	name string
	n    int
}{{"hit", 10_000}, {"miss", 1000}, {"eviction", 200}}

// against compares the working tree, as far as git knows its files, with a commit. In
// each round both are started anew, as the places of things in memory differ from process to
// process, and take turns: forwards, then backwards, twice.
func against(commit string, rounds int, out io.Writer) error {
	if rounds < leastRounds {
		return fmt.Errorf("-rounds %d: want at least %d", rounds, leastRounds)
	}
	temp, err := os.MkdirTemp("", "svctoken-against-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	top, err := git(".", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	present, err := workingTree(top)
	if err != nil {
		return err
	}
	var binaries [2]string
	for i, c := range []string{present, commit} {
		if binaries[i], err = buildSide(top, filepath.Join(temp, fmt.Sprint(i)), c); err != nil {
			return fmt.Errorf("%s: %w", c, err)
		}
	}
	times := make([][2]turns.Times, len(operations))
	for range rounds {
		if err := round(binaries, times); err != nil {
			return err
		}
	}
	printAgainst(out, commit, rounds, times)
	return nil
}

func printAgainst(out io.Writer, commit string, rounds int, times [][2]turns.Times) {
	var p page
	p.table("what", "here, median, ns", commit+", median, ns", fmt.Sprintf("ratio of %d rounds: of the best (median; quartiles)", rounds))
	for i, o := range operations {
		p.line("| %s | %.0f | %.0f | %s |", o.name, times[i][0].Median(), times[i][1].Median(), showFinely(times[i][0].Against(times[i][1])))
	}
	io.WriteString(out, p.String())
}

// showFinely is show with one more digit.
func showFinely(r turns.Ratio) string {
	return fmt.Sprintf("%.3f × (%.3f; %.3f to %.3f)", r.Best, r.Median, r.Q1, r.Q3)
}

// workingTree returns a commit of the working tree's files that git knows: HEAD, if
// nothing has changed.
func workingTree(top string) (string, error) {
	text, err := git(top, "stash", "create")
	return cmp.Or(text, "HEAD"), err
}

func git(dir string, args ...string) (string, error) {
	out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// buildSide writes the tree of a commit with the present command side in it, which may
// be later than the commit, and builds that: in the root's module, whose requirements
// are the commit's own.
func buildSide(top, dir, commit string) (binary string, err error) {
	tar := dir + ".tar"
	if _, err := git(top, "archive", "-o", tar, commit); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o777); err != nil {
		return "", err
	}
	if out, err := exec.Command("tar", "-xf", tar, "-C", dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("tar: %w\n%s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(dir, "internal/harness")); err != nil {
		return "", err
	}
	for _, from := range []string{"side", "turns"} {
		to := filepath.Join(dir, "internal/harness/peers", from)
		if err := os.CopyFS(to, os.DirFS(filepath.Join(top, "internal/harness/peers", from))); err != nil {
			return "", err
		}
	}
	binary = dir + ".side"
	cmd := exec.Command("go", "build", "-o", binary, "./internal/harness/peers/side")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return binary, nil
}

// round starts both binaries, lets them take turns, and adds what each operation took.
func round(binaries [2]string, times [][2]turns.Times) error {
	var sides [2]*side
	for i, binary := range binaries {
		s, err := startSide(binary)
		if err != nil {
			return err
		}
		defer s.end()
		sides[i] = s
	}
	for i, o := range operations {
		var took [2]float64
		order := []int{0, 1, 1, 0, 1, 0, 0, 1}
		for n, which := range append([]int{0, 1}, order...) {
			ns, err := sides[which].do(o.name, o.n)
			if err != nil {
				return err
			}
			if n >= 2 { // the first turn of each warms up
				took[which] += ns / float64(o.n*len(order)/2)
			}
		}
		for which := range took {
			times[i][which].Rounds = append(times[i][which].Rounds, took[which])
		}
	}
	return nil
}

// A side is a command side that runs.
type side struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

func startSide(binary string) (*side, error) {
	cmd := exec.Command(binary)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &side{cmd, in, bufio.NewScanner(out)}, cmd.Start()
}

// do makes the side do an operation n times, and returns the nanoseconds.
func (s *side) do(name string, n int) (float64, error) {
	if _, err := fmt.Fprintln(s.in, name, n); err != nil {
		return 0, err
	}
	if !s.lines.Scan() {
		return 0, cmp.Or(s.lines.Err(), io.ErrUnexpectedEOF)
	}
	return strconv.ParseFloat(s.lines.Text(), 64)
}

func (s *side) end() {
	s.in.Close() // ends the program
	s.cmd.Wait()
}
