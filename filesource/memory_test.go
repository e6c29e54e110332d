//go:build linux

package filesource_test

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/svctoken/svctoken/filesource"
)

// TestTexts: a File holds its text once and a table, a reload in which one line has
// changed only another table, and an edit one more text and where its lines are. With
// many lines, -cost.lines 1000000, it logs how much memory the process takes with the
// default GOGC, and how long.
func TestTexts(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector holds memory of its own")
	}
	path := tokensPath(t)
	size := writeMany(t, path, *costLines)
	large := *costLines >= 100_000
	if !large {
		defer debug.SetGCPercent(debug.SetGCPercent(10))
	}
	var file *filesource.File
	most := make(map[string]float64)
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"Open", func() (err error) {
			file, err = filesource.Open(path, filesource.Config{Poll: -1, Rest: -1})
			return err
		}},
		{"Reload", func() error { return file.Reload() }},
		{"Create", func() error { return second(file.Create(t.Context(), fleet.TokenID("new"))) }},
		{"Rotate", func() error { return second(file.Rotate(t.Context(), fleet.TokenID("new"))) }},
		{"Delete", func() error { return file.Delete(t.Context(), fleet.TokenID("new")) }},
	} {
		if step.name == "Reload" {
			changeOneLine(t, path, size)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		resetPeak(t)
		began := time.Now()
		most[step.name] = float64(peak(func() {
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
		})) / float64(size)
		took := time.Since(began)
		runtime.GC()
		runtime.ReadMemStats(&after)
		t.Logf("%s: %.2f times the file in use at most, %.2f afterwards; the process took %d MB and %v", step.name,
			most[step.name], float64(after.HeapAlloc)/float64(size), residentPeak(t)/1_000_000, took.Round(time.Millisecond))
		most["at rest"] = max(most["at rest"], float64(after.HeapAlloc)/float64(size))
	}
	defer file.Close()
	for name, limit := range map[string]float64{"at rest": 1.4, "Open": 1.6, "Reload": 1.8, "Create": 3, "Rotate": 3, "Delete": 3} {
		if !large && most[name] > limit {
			t.Errorf("%s: %.2f times the file, more than %.1f", name, most[name], limit)
		}
	}
}

// writeMany writes a file of many tokens, a line at a time, and returns its size.
func writeMany(t *testing.T, path string, lines int) int64 {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	to := bufio.NewWriter(file)
	for i := range lines {
		fmt.Fprintf(to, "elastic/service-%03d/token-%08d:{PBKDF2_STRETCH}10000$%s$%s\n", i*100/lines, i, salt, salt)
	}
	if err := to.Flush(); err != nil {
		t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// changeOneLine changes a character of the last line's hash.
func changeOneLine(t *testing.T, path string, size int64) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt([]byte("AB"), size-20); err != nil {
		t.Fatal(err)
	}
}

// resetPeak resets residentPeak, if the system allows it.
func resetPeak(t *testing.T) {
	t.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Log(err)
	}
}

// residentPeak returns how much memory the process has had at most.
func residentPeak(t *testing.T) int {
	t.Helper()
	for line := range strings.Lines(read(t, "/proc/self/status")) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	return 0
}
