package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A fate is the outcome of a change.
type fate string

const (
	killed     fate = "killed"
	killedLate fate = "killed by the time limit"
	survived   fate = "SURVIVED"
	discounted fate = "does not count" // it does not compile, or to a program that was tried
)

// A trial is a change with its fate.
type trial struct {
	*change
	fate fate
	took time.Duration
	err  error // the trial itself failed
}

func (t *trial) String() string {
	return fmt.Sprintf("%s: %s: %s (%.1f s)\n%s", t.place, t.what, t.fate, t.took.Seconds(), t.diff())
}

// A lab runs the tests of a package.
type lab struct {
	pkg     *pkg
	work    string
	suites  []suite
	timeout time.Duration // for each suite
	race    bool          // run the tests under the race detector
	short   bool
	wrap    []string // command that bounds the memory of the package's own tests

	mu   sync.Mutex // protects seen
	seen map[[sha256.Size]byte]bool
}

// baseline runs the tests of the unchanged code: they must pass.
func (l *lab) baseline(ctx context.Context) error {
	if path, err := exec.LookPath("prlimit"); err == nil && !l.race { // whose shadow memory has terabytes of addresses
		l.wrap = []string{path, "--as=8000000000"}
	}
	var longest time.Duration
	for i, suite := range l.suites {
		binary := filepath.Join(l.work, "unchanged.test")
		listing, err := l.build(ctx, suite, binary, "")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, listing)
		}
		if i == 0 {
			l.isNew(listing)
		}
		began := time.Now()
		if out, err := l.test(ctx, suite, binary, 10*time.Minute); err != nil {
			return fmt.Errorf("the tests of the unchanged code: %w\n%s", err, out)
		}
		longest = max(longest, time.Since(began))
	}
	l.timeout = limit(l.timeout, longest)
	return nil
}

// tryAll tries changes, some at a time, and reports each in order, as soon as it can.
func (l *lab) tryAll(ctx context.Context, changes []*change, parallel int, tell func(*trial)) error {
	results := make([]chan *trial, len(changes))
	for i := range results {
		results[i] = make(chan *trial, 1)
	}
	var next atomic.Int64
	for range max(parallel, 1) {
		go func() {
			for i := int(next.Add(1)) - 1; i < len(changes); i = int(next.Add(1)) - 1 {
				began := time.Now()
				t := &trial{change: changes[i]}
				t.fate, t.err = l.try(ctx, fmt.Sprint(i), changes[i])
				t.took = time.Since(began)
				results[i] <- t
			}
		}()
	}
	var failed error
	for _, result := range results {
		t := <-result
		if failed = cmp.Or(failed, t.err); failed == nil {
			tell(t)
		}
	}
	return failed
}

// try builds the tests with the changed package, and runs them, suite by suite, until
// one fails.
func (l *lab) try(ctx context.Context, name string, c *change) (fate, error) {
	binary := filepath.Join(l.work, name+".test")
	defer os.Remove(binary)
	overlay, err := l.overlay(name, c)
	if err != nil {
		return "", err
	}
	for i, suite := range l.suites {
		listing, err := l.build(ctx, suite, binary, overlay)
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case err != nil, i == 0 && !l.isNew(listing):
			return discounted, nil
		}
		if _, err = l.test(ctx, suite, binary, l.timeout); ctx.Err() != nil {
			return "", ctx.Err()
		} else if errors.Is(err, context.DeadlineExceeded) {
			return killedLate, nil
		} else if err != nil {
			return killed, nil
		}
	}
	return survived, nil
}

// overlay writes the changed file, and the list by which the compiler finds it.
func (l *lab) overlay(name string, c *change) (string, error) {
	text, list := filepath.Join(l.work, name+".go"), filepath.Join(l.work, name+".json")
	if err := os.WriteFile(text, c.apply(), 0o666); err != nil {
		return "", err
	}
	data, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(l.pkg.dir, c.file.name): text}})
	if err != nil {
		return "", err
	}
	return list, os.WriteFile(list, data, 0o666)
}

// build compiles the tests of a suite, and returns the listing of the changed package's
// machine code. The linked tests would not do: they lack functions that no test calls.
func (l *lab) build(ctx context.Context, s suite, binary, overlay string) (listing []byte, err error) {
	args := []string{"test", "-c", "-vet=off", "-trimpath", "-gcflags=" + l.pkg.path + "=-S -c=1", "-ldflags=-w -s", "-o", binary}
	if l.race {
		args = append(args, "-race")
	}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir = s.dir
	return cmd.CombinedOutput()
}

// isNew reports whether no earlier code had the same listing.
func (l *lab) isNew(listing []byte) bool {
	sum := sha256.Sum256(listing)
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.seen[sum]
	l.seen[sum] = true
	return !old
}

// test runs the compiled tests of a suite until one fails, as go test would run them.
func (l *lab) test(ctx context.Context, s suite, binary string, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	args := []string{binary, "-test.failfast", "-test.timeout=0"}
	if l.short {
		args = append(args, "-test.short")
	}
	if s.own {
		args = slices.Concat(l.wrap, args)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = s.dir
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out.Bytes(), err
}
