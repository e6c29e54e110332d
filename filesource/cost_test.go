//go:build linux

package filesource_test

import (
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/svctoken/svctoken/filesource"
)

var costLines = flag.Int("cost.lines", 50_000, "how many lines the file of TestCost has")

// A cost is the least that an operation took: of the processor, and by the clock.
type cost struct{ cpu, wall time.Duration }

// measure runs an operation and returns the lesser of its costs and those before.
func measure(t *testing.T, before cost, op func() error) cost {
	t.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	runtime.GC()
	cpu, start := used(), time.Now()
	if err := op(); err != nil {
		t.Fatal(err)
	}
	return cost{min(before.cpu, used()-cpu), min(before.wall, time.Since(start))}
}

// TestCost measures in turns a reload, an edit, and the least that any reader must do. It
// has limits for the processor's time; the time by the clock depends on the disk and on
// other programs, and is only logged.
func TestCost(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector costs the one more than the other")
	}
	lines := strings.SplitAfter(manyTokens(*costLines), "\n")
	slices.Sort(lines)
	path := put(t, tokensPath(t), strings.Join(lines, ""))
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	limit := 2.0
	if *costLines < 1_000_000 { // the hash of the new secret, and what the disk's cache has at hand, weigh more
		limit = 3
	}
	most := cost{math.MaxInt64, math.MaxInt64}
	floor, reload, create, remove := most, most, most, most
	within := func() bool {
		return reload.cpu < 4*floor.cpu && max(create.cpu, remove.cpu).Seconds() < limit*reload.cpu.Seconds()
	}
	for i := 0; i < 3 || i < 30 && !within(); i++ { // others on the machine may take the processor's caches
		id := fleet.TokenID(fmt.Sprint("new", i))
		content := read(t, path)
		put(t, path, content[:len(content)-20]+string("AB"[i%2])+content[len(content)-19:])
		floor = measure(t, floor, func() error { return leastReader(path) })
		reload = measure(t, reload, file.Reload)
		create = measure(t, create, func() error { return second(file.Create(t.Context(), id)) })
		remove = measure(t, remove, func() error { return file.Delete(t.Context(), id) })
	}
	for _, test := range []struct {
		name      string
		cost      cost
		unit      string
		by        cost
		mostTimes float64
	}{
		{"a reload", reload, "the least reader", floor, 4},
		{"Create", create, "a reload", reload, limit},
		{"Delete", remove, "a reload", reload, limit},
	} {
		cpu, wall := float64(test.cost.cpu)/float64(test.by.cpu), float64(test.cost.wall)/float64(test.by.wall)
		t.Logf("%s: %v of the processor, %v by the clock; %.2f and %.2f times %s", test.name, test.cost.cpu, test.cost.wall, cpu, wall, test.unit)
		if cpu > test.mostTimes {
			t.Errorf("%s takes %.2f times the processor's time of %s, more than %.1f", test.name, cpu, test.unit, test.mostTimes)
		}
	}
	size := float64(len(strings.Join(lines, "")))
	t.Logf("a reload reads %.0f MB in a second of the processor", size/1e6/reload.cpu.Seconds())
}

// leastReader reads a file and puts its lines into a map, with no rule checked.
func leastReader(path string) error {
	content, err := os.ReadFile(path)
	tokens := make(map[string]string, strings.Count(string(content), "\n"))
	for line := range strings.Lines(string(content)) {
		name, hash, _ := strings.Cut(line, ":")
		tokens[name] = hash
	}
	if len(tokens) != *costLines {
		return fmt.Errorf("%d lines, %w", len(tokens), err)
	}
	return err
}
