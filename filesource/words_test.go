//go:build linux

package filesource_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

// These tests are about a File's messages.

// TestWarnings: a file that is missing at the start, and tokens that fall to none or to
// less than half, are warnings that name the path.
func TestWarnings(t *testing.T) {
	four := lineOne + lineTwo + "x/y/1:" + hashA + "\nx/y/2:" + hashA + "\n"
	for _, test := range []struct {
		name, before, after string
		warns               string // with these
	}{
		{"missing", "", "", " tokens=0\n"},
		{"none left", four, "# none\n", " tokens=0 before=4\n"},
		{"one of four left", four, lineOne, " tokens=1 before=4\n"},
		{"half left", four, lineOne + lineTwo, ""},
		{"as many others", lineOne, lineTwo, ""},
		{"more", lineOne, four, ""},
	} {
		var log bytes.Buffer
		path := tokensPath(t)
		if test.before != "" {
			put(t, path, test.before)
		}
		file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if test.after != "" {
			log.Reset()
			put(t, path, test.after)
			if err := file.Reload(); err != nil {
				t.Error(err)
			}
		}
		if got := log.String(); strings.Contains(got, "level=WARN") != (test.warns != "") || !strings.HasSuffix(got, test.warns) || !strings.Contains(got, path) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: got %s", test.name, got)
		}
	}
}

// TestLargeFileIsAnnounced: before it is parsed.
func TestLargeFileIsAnnounced(t *testing.T) {
	for _, size := range []int{16<<20 - 1, 16 << 20} {
		var log bytes.Buffer
		path := put(t, tokensPath(t), lineOne+strings.Repeat("#", size-len(lineOne)-1)+"\n")
		open(t, path, filesource.Config{Poll: -1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		want := size == 16<<20
		if got := log.String(); strings.Contains(got, "reading a large") != want || strings.Contains(got, fmt.Sprint("bytes=", size)) != want {
			t.Errorf("%d bytes: got %s", size, got)
		}
	}
}

// TestBadFileHasABound: a revocation that was written beside a typo comes into force with
// KeepBad; without it, the tokens stay.
func TestBadFileHasABound(t *testing.T) {
	for _, keep := range []time.Duration{0, -1, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			path := put(t, tokensPath(t), lineOne+lineTwo)
			file, cache := open(t, path, filesource.Config{KeepBad: keep})
			if !works(t, cache, one) {
				t.Fatal("it does not work")
			}
			put(t, path, lineTwo+"bad\n")
			began := time.Now()
			time.Sleep(50 * time.Second)
			put(t, path, lineTwo+"bad in another way\n") // the bound is of both
			time.Sleep(9 * time.Second)
			st := file.Status()
			if !works(t, cache, one) || st.Err == nil || st.Failing.Sub(began) > 5*time.Second || st.Failing.Sub(began) < time.Second {
				t.Errorf("KeepBad %v: within a minute: got %+v", keep, st)
			}
			time.Sleep(5 * time.Second)
			_, err := cache.AuthenticateToken(t.Context(), token(t, one, "supersecret"))
			bad, isBad := errors.AsType[*filesource.FormatError](err)
			if (err != nil) != (keep > 0) || isBad && bad.Path != path || file.Status().Err == nil {
				t.Errorf("KeepBad %v: after a minute: got %v", keep, err)
			}
			put(t, path, lineTwo)
			time.Sleep(5 * time.Second)
			if works(t, cache, one) || !works(t, cache, two) || file.Status().Err != nil || !file.Status().Failing.IsZero() {
				t.Errorf("KeepBad %v: when it is good: got %+v", keep, file.Status())
			}
			file.Close()
		})
	}
}

// TestLongNames: what can be read can be edited, by all writers alike.
func TestLongNames(t *testing.T) {
	for _, length := range []int{200, 201, 231, 240, 255} {
		for _, letter := range []string{"x", "é"} {
			path := filepath.Join(t.TempDir(), strings.Repeat(letter, length/len(letter)))
			put(t, path, lineOne)
			file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
			if _, err := file.Create(t.Context(), fleet.TokenID("two")); err != nil || !has(file, one, two) {
				t.Errorf("%d bytes: got %v", length, err)
			}
			if got := len(folder(t, path)); got != 2 {
				t.Errorf("%d bytes: %d files", length, got)
			}
		}
	}
	// Two that begin alike have two locks.
	dir := t.TempDir()
	for _, end := range []string{"a", "b"} {
		file, _ := open(t, filepath.Join(dir, strings.Repeat("x", 230)+end), filesource.Config{Poll: -1, Rest: -1})
		if _, err := file.Create(t.Context(), fleet.TokenID("two")); err != nil {
			t.Error(err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 4 {
		t.Errorf("got %v, %v", entries, err)
	}
}

// TestOddPath: no message and no line of a log is broken by the path.
func TestOddPath(t *testing.T) {
	for _, name := range []string{"a\nlevel=ERROR b", "a\rb", "a\x1b[31mb", "a\xffb"} {
		var log bytes.Buffer
		path := filepath.Join(t.TempDir(), name)
		file, err := filesource.Open(path, filesource.Config{Poll: -1, Rest: -1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		var errs []error
		note := func(err error) {
			if err == nil {
				t.Errorf("%q: no error", name)
			}
			errs = append(errs, err)
		}
		note(file.Delete(t.Context(), fleet.TokenID("one")))
		put(t, path, lineOne)
		note(second(file.Create(t.Context(), fleet.TokenID("one"))))
		put(t, path, "bad\n")
		note(file.Reload())
		note(file.Status().Err)
		if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
			t.Fatal(err)
		}
		note(file.Reload())
		note(second(filesource.Open(path, filesource.Config{})))
		note(second(filesource.Open(filepath.Join(path, "x\x00"), filesource.Config{})))
		for _, err := range errs {
			text := err.Error()
			if bad, ok := errors.AsType[*filesource.FormatError](err); ok {
				text = strings.Replace(text, "\n", "", len(bad.Lines)) // one a line
			}
			if strings.ContainsAny(text, "\n\r\x1b\x00") || !utf8.ValidString(text) || !strings.Contains(text, fmt.Sprintf("%q", path)[:len(path)-len(name)+1]) {
				t.Errorf("%q: the message is %q", name, text)
			}
		}
		if strings.Count(log.String(), "\n") != 3 {
			t.Errorf("%q: the log is\n%s", name, log.String())
		}
	}
}

// TestAdvice: an errno of a few letters is explained.
func TestAdvice(t *testing.T) {
	for op, errno := range map[string]syscall.Errno{"rename": syscall.EBUSY, "createtemp": syscall.EROFS, "lock": syscall.EACCES, "chtimes": syscall.EPERM} {
		s := &script{}
		path := put(t, tokensPath(t), lineOne)
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
		s.set(func(o, p string) error {
			if o == op {
				return &os.PathError{Op: o, Path: p, Err: errno}
			}
			return nil
		})
		_, err := file.Create(t.Context(), fleet.TokenID("new"))
		if !errors.Is(err, errno) || !strings.HasSuffix(err.Error(), ")") || !strings.Contains(err.Error(), errno.Error()+" (") {
			t.Errorf("%s: got %v", op, err)
		}
	}
}

// TestLineThatIsNotInForce: Create says that the file has it.
func TestLineThatIsNotInForce(t *testing.T) {
	path := put(t, tokensPath(t), one+":plaintext\n"+lineTwo)
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	for name, says := range map[string]bool{"one": true, "two": false} {
		_, err := file.Create(t.Context(), fleet.TokenID(name))
		if !errors.Is(err, tokencache.ErrExists) || strings.Contains(err.Error(), "not in force") != says || strings.Contains(err.Error(), "plaintext") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestFolderSwappedDuringAnEdit: ..data leads elsewhere, and the old folder has gone, at
// any moment of an edit. It starts again.
func TestFolderSwappedDuringAnEdit(t *testing.T) {
	for _, op := range []string{"stat", "resolve", "lock", "readdir", "open", "createtemp", "write", "sync", "chtimes", "rename", "read-close"} {
		s, dir := &script{}, t.TempDir()
		version := func(name string) string {
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			return put(t, filepath.Join(dir, name, "service_tokens"), lineOne+lineTwo)
		}
		version("..1")
		path := filepath.Join(dir, "service_tokens")
		if err := errors.Join(os.Symlink("..1", filepath.Join(dir, "..data")), os.Symlink("..data/service_tokens", path)); err != nil {
			t.Fatal(err)
		}
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
		s.on(op, func() error {
			version("..2")
			return errors.Join(os.Symlink("..2", filepath.Join(dir, "tmp")), os.Rename(filepath.Join(dir, "tmp"), filepath.Join(dir, "..data")), os.RemoveAll(filepath.Join(dir, "..1")))
		})
		if err := file.Delete(t.Context(), fleet.TokenID("one")); err != nil || has(file, one) || !has(file, two) || read(t, path) != lineTwo {
			t.Errorf("%s: got %v, %v, %s", op, err, file.List(), read(t, path))
		}
	}
}

// TestUnchangedTextIsNotParsed: Reload does not parse it, even if the file was touched.
func TestUnchangedTextIsNotParsed(t *testing.T) {
	path := put(t, tokensPath(t), manyTokens(60_000))
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	reload := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := file.Reload(); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	put(t, path, manyTokens(60_000)+"# changed\n")
	full := reload()
	for range 3 {
		if got := reload(); got*10 > full {
			t.Errorf("allocated %d bytes, %d if it has changed", got, full)
		}
	}
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := reload(); got*10 > full*8 {
		t.Errorf("touched: allocated %d bytes, %d if it has changed", got, full)
	}
}
