package peers

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrNoValgrind is returned by Writes if valgrind is not installed, or cannot run
// a program of this processor.
var ErrNoValgrind = errors.New("peers: valgrind cannot watch")

// Writes runs hits, the command beside this package, under valgrind, and returns how
// often a hit writes to each cache line of 64 bytes outside of what its goroutine and
// its thread have for themselves, for the lines that are written by one hit in sixteen
// or more: the program hits eight tokens in turn. The runtime's own threads write
// meanwhile, but not the same in each run; so the run counts which shows the fewest
// lines, of five at most.
func Writes() ([]float64, error) {
	valgrind, err := exec.LookPath("valgrind")
	if err != nil {
		return nil, ErrNoValgrind
	}
	dir, binary, err := buildHits()
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	trace := filepath.Join(dir, "trace")
	var fewest []float64
	for range 5 {
		often, err := watch(valgrind, binary, trace)
		if err != nil {
			return nil, err
		}
		if fewest == nil || len(often) < len(fewest) {
			fewest = often
		}
		if len(fewest) == 1 {
			break
		}
	}
	return fewest, nil
}

// buildHits builds the command hits in a new directory.
func buildHits() (dir, binary string, err error) {
	dir, err = os.MkdirTemp("", "svctoken-hits-")
	if err != nil {
		return "", "", err
	}
	binary = filepath.Join(dir, "hits")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/svctoken/svctoken/internal/harness/peers/hits").CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", "", fmt.Errorf("%w\n%s", err, out)
	}
	return dir, binary, nil
}

// watch runs the command once.
func watch(valgrind, binary, trace string) ([]float64, error) {
	const hits = 160
	cmd := exec.Command(valgrind, "--tool=lackey", "--trace-mem=yes", "--log-file="+trace, binary, strconv.Itoa(hits))
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1") // no signals in between
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoValgrind, err)
	}
	var mark, stack uint64
	if _, err := fmt.Sscan(string(out), &mark, &stack); err != nil {
		return nil, err
	}
	lines, err := stores(trace, mark)
	if err != nil {
		return nil, err
	}
	threadBegin, threadEnd, err := mainThread(binary)
	if err != nil {
		return nil, err
	}
	var often []float64
	for line, n := range lines {
		onStack := line*64 > stack-32<<10 && line*64 < stack+4<<10
		ofThread := line*64 > threadBegin-64 && line*64 < threadEnd // the thread's note that the clock is being read
		if !onStack && !ofThread && n >= hits/16 {
			often = append(often, float64(n)/hits)
		}
	}
	return often, nil
}

// mainThread returns the place at which the runtime keeps its record of a program's
// main thread, which only that thread writes while it runs.
func mainThread(binary string) (begin, end uint64, err error) {
	file, err := elf.Open(binary)
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		return 0, 0, err
	}
	for _, s := range symbols {
		if s.Name == "runtime.m0" {
			return s.Value, s.Value + s.Size, nil
		}
	}
	return 0, 0, errors.New("peers: the program has no runtime.m0")
}

// stores counts the stores to each cache line between the first store to mark and
// the second, in a trace of lackey's: " S address,size", and M for a load and store.
func stores(trace string, mark uint64) (map[uint64]int, error) {
	file, err := os.Open(trace)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := make(map[uint64]int)
	marks := 0
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		text := scanner.Text()
		if !strings.HasPrefix(text, " S ") && !strings.HasPrefix(text, " M ") {
			continue
		}
		hex, _, _ := strings.Cut(text[3:], ",")
		address, err := strconv.ParseUint(hex, 16, 64)
		if err != nil {
			return nil, err
		}
		switch {
		case address == mark:
			marks++
		case marks == 1:
			lines[address/64]++
		}
	}
	if marks != 2 {
		return nil, fmt.Errorf("peers: the trace has %d marks, want 2", marks)
	}
	return lines, nil
}
