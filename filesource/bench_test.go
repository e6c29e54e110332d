package filesource_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/filesource"
)

// manyTokens returns a file of this many lines, of the length that
// elasticsearch-service-tokens writes.
func manyTokens(lines int) string {
	const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	var b strings.Builder
	for i := range lines {
		fmt.Fprintf(&b, "elastic/service-%d/token-%08d:{PBKDF2_STRETCH}10000$%s$%s\n", i%100, i, key, key)
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
		if _, err := filesource.Open(path, filesource.Config{Poll: -1}); err != nil {
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
	file, err := filesource.Open(path, filesource.Config{Poll: -1})
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
