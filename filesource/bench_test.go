package filesource_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/filesource"
)

// salt is one of the length that elasticsearch-service-tokens writes, as is the key.
const salt = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// manyTokens returns a file of this many lines, of the length that
// elasticsearch-service-tokens writes.
func manyTokens(lines int) string {
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "elastic/service-%d/token-%08d:{PBKDF2_STRETCH}10000$%s$%s\n", i%100, i, salt, salt)
	}
	return b.String()
}

// BenchmarkOpen asks how fast a file of 100 000 lines is read and checked.
func BenchmarkOpen(b *testing.B) {
	content := manyTokens(100_000)
	path := tokensPath(b)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := filesource.Open(path, filesource.Config{Poll: -1, Rest: -1}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReload asks the same of a reload after one line has changed.
func BenchmarkReload(b *testing.B) {
	content := manyTokens(100_000)
	contents := [2]string{content, strings.Replace(content, "token-00050000", "token-renamed0", 1)}
	path := tokensPath(b)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
	file, err := filesource.Open(path, filesource.Config{Poll: -1, Rest: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(content)))
	b.ReportAllocs()
	for i := 1; b.Loop(); i++ {
		b.StopTimer()
		if err := os.WriteFile(path, []byte(contents[i%2]), 0o600); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := file.Reload(); err != nil {
			b.Fatal(err)
		}
	}
}

// TestReloadAllocatesNoMoreThanOpen: a reload after one line has changed takes no
// more memory than reading the file for the first time.
func TestReloadAllocatesNoMoreThanOpen(t *testing.T) {
	path := tokensPath(t)
	content := manyTokens(10_000)
	contents := [2]string{content, strings.Replace(content, "token-00005000", "token-renamed0", 1)}
	write := func(i int) {
		if err := os.WriteFile(path, []byte(contents[i%2]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	file, err := filesource.Open(path, filesource.Config{Poll: -1, Rest: -1})
	if err != nil {
		t.Fatal(err)
	}
	allocated := func(f func() error) uint64 {
		t.Helper()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := f(); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	open := allocated(func() error { _, err := filesource.Open(path, filesource.Config{Poll: -1, Rest: -1}); return err })
	write(1)
	if reload := allocated(file.Reload); reload > open+open/100 {
		t.Errorf("a reload allocates %d bytes, the first read %d", reload, open)
	}
}
