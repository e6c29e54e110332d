package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A fate is what became of a change.
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
	timeout time.Duration
	race    bool     // run the tests under the race detector
	wrap    []string // what bounds the memory of the tests

	mu   sync.Mutex // protects seen
	seen map[[sha256.Size]byte]bool
}

// baseline runs the tests of the unchanged code: they must pass.
func (l *lab) baseline(ctx context.Context) error {
	if path, err := exec.LookPath("prlimit"); err == nil && !l.race { // whose shadow memory has terabytes of addresses
		l.wrap = []string{path, "--as=8000000000"}
	}
	binary := filepath.Join(l.work, "unchanged.test")
	listing, err := l.build(ctx, binary, "")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, listing)
	}
	l.isNew(listing)
	began := time.Now()
	out, err := l.test(ctx, binary, 10*time.Minute)
	if err != nil {
		return fmt.Errorf("the tests of the unchanged code: %w\n%s", err, out)
	}
	l.timeout = limit(l.timeout, time.Since(began))
	return nil
}

// tryAll tries changes, so many at a time, and tells of each in order, as soon as it can.
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

// try builds the tests of the changed package, and runs them.
func (l *lab) try(ctx context.Context, name string, c *change) (fate, error) {
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	binary := filepath.Join(l.work, name+".test")
	defer os.Remove(binary)
	overlay, err := l.overlay(name, c)
	if err != nil {
		return "", err
	}
	listing, err := l.build(ctx, binary, overlay)
	if err != nil || !l.isNew(listing) {
		return discounted, ctx.Err()
	}
	_, err = l.test(ctx, binary, l.timeout)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == nil:
		return survived, nil
	case strings.Contains(err.Error(), context.DeadlineExceeded.Error()):
		return killedLate, nil
	}
	return killed, nil
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

// build compiles the tests, and returns the listing of the package's machine code. Not
// the linked tests are compared: those lack the functions that no test calls.
func (l *lab) build(ctx context.Context, binary, overlay string) (listing []byte, err error) {
	args := []string{"test", "-c", "-vet=off", "-trimpath", "-gcflags=-S -c=1", "-ldflags=-w -s", "-o", binary}
	if l.race {
		args = append(args, "-race")
	}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir = l.pkg.dir
	return cmd.CombinedOutput()
}

// isNew reports whether no code before had the same listing.
func (l *lab) isNew(listing []byte) bool {
	sum := sha256.Sum256(listing)
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.seen[sum]
	l.seen[sum] = true
	return !old
}

// test runs the compiled tests until one fails, as go test would run them.
func (l *lab) test(ctx context.Context, binary string, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	args := append(append([]string{}, l.wrap...), binary, "-test.failfast", "-test.timeout=0")
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = l.pkg.dir
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out.Bytes(), err
}
