//go:build linux

package filesource_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/filesource"
)

// These tests are about what the file system's stamps prove, and what they do not.

// putAt writes a file in place at a time of the file system's clock, for looks that see
// it as filesource.WrittenAt does.
func putAt(t testing.TB, path, content string, at time.Time) string {
	t.Helper()
	put(t, path, content)
	if err := os.Chtimes(path, time.Time{}, at); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWritesWithinOneTick: they leave no trace in the file's times, and are noticed.
func TestWritesWithinOneTick(t *testing.T) {
	first, second := lineTwo+"x/y/1:"+hashA+"\n", lineTwo+"x/y/2:"+hashA+"\n"
	for _, poll := range []time.Duration{50 * time.Millisecond, -1} {
		synctest.Test(t, func(t *testing.T) {
			tick := time.Now()
			path := putAt(t, tokensPath(t), lineOne+lineTwo, tick)
			file, _ := openWith(t, path, filesource.Config{Poll: poll}, filesource.Faults{Info: filesource.WrittenAt})
			putAt(t, path, first, tick)
			if poll < 0 {
				time.AfterFunc(20*time.Millisecond, func() { putAt(t, path, second, tick) })
				if err := file.Reload(); err != nil || time.Since(tick) != 800*time.Millisecond {
					t.Errorf("got %v after %v", err, time.Since(tick))
				}
			} else {
				time.Sleep(80 * time.Millisecond)
				putAt(t, path, second, tick)
				time.Sleep(2 * time.Second)
			}
			if has(file, one) || has(file, "x/y/1") || !has(file, two, "x/y/2") {
				t.Errorf("poll %v: got %v", poll, file.List())
			}
			file.Close()
		})
	}
}

// TestEditWithinOneTick: what somebody writes right before the rename, with the same
// size and the same times, is not lost.
func TestEditWithinOneTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, tick := &script{}, time.Now()
		path := putAt(t, tokensPath(t), lineOne+"x/y/1:"+hashA+"\n", tick)
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before, Info: filesource.WrittenAt})
		s.on("sync", func() error { putAt(t, path, lineOne+"x/y/2:"+hashA+"\n", tick); return nil })
		if err := file.Delete(t.Context(), fleet.TokenID("one")); err != nil || read(t, path) != "x/y/2:"+hashA+"\n" {
			t.Errorf("got %v, the file is %q", err, read(t, path))
		}
	})
}

// TestSettledAfterPatience: a file that was read again before it was believed, long
// after it was written, is not read once more.
func TestSettledAfterPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		time.Sleep(time.Millisecond) // stamps are not of whole seconds
		path := putAt(t, tokensPath(t), lineOne+lineTwo, time.Now())
		file, _ := openWith(t, path, filesource.Config{Poll: 50 * time.Millisecond}, filesource.Faults{Before: s.Before, Info: filesource.WrittenAt})
		time.Sleep(time.Second)
		s.count("")
		putAt(t, path, lineTwo, time.Now())
		time.Sleep(480 * time.Millisecond)
		if n := s.count("open"); has(file, one) || n != 2 {
			t.Errorf("got %v after %d reads", file.List(), n)
		}
		time.Sleep(2 * time.Second)
		if n := s.count("open"); n != 0 {
			t.Errorf("read %d times more", n)
		}
		file.Close()
	})
}

// TestChangesDuringEveryRead: no read is of one state, so the file is never believed. In
// the end it is reported, sooner with a shorter Config.Rest, and later if the file is
// large and takes time to read.
func TestChangesDuringEveryRead(t *testing.T) {
	large := strings.Repeat("# comment\n", 200_000)
	for _, test := range []struct {
		rest time.Duration
		text string
		read time.Duration // what the read takes
		from time.Duration
		to   time.Duration
	}{
		{0, "", 0, 8 * time.Second, 8100 * time.Millisecond},
		{5 * time.Millisecond, "", 0, 400 * time.Millisecond, 420 * time.Millisecond},
		{-1, "", 0, 400 * time.Millisecond, 420 * time.Millisecond},
		{0, "", time.Second, 80 * time.Second, 300 * time.Second}, // of which 40 ms count, as the process was kept from running
		{0, large, 75 * time.Millisecond, 8 * time.Second, 9 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{}
			path := put(t, tokensPath(t), lineOne+lineTwo)
			file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: test.rest}, filesource.Faults{Before: s.Before})
			put(t, path, test.text+lineTwo)
			s.set(func(op, _ string) error {
				if op == "read-close" {
					time.Sleep(test.read)
					return appendTo(path, "# more\n")
				}
				return nil
			})
			start := time.Now()
			err := file.Reload()
			if took := time.Since(start); err == nil || !strings.Contains(err.Error(), path+": it changes all the time") || took < test.from || took > test.to {
				t.Errorf("Rest %v, %d bytes: got %v after %v", test.rest, len(test.text), err, took)
			}
			if !has(file, one, two) || file.Status().Err == nil {
				t.Errorf("got %v, %+v", file.List(), file.Status())
			}
			s.set(nil)
			if err := file.Reload(); err != nil || has(file, one) || !has(file, two) {
				t.Errorf("at rest: got %v, %v", err, file.List())
			}
		})
	}
}

// TestLinkThatCannotBeRead: it proves nothing.
func TestLinkThatCannotBeRead(t *testing.T) {
	for _, op := range []string{"", "readlink", "lstat"} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{}
			path := tokensPath(t)
			swap(t, put(t, path+"1", lineOne+lineTwo), path)
			file, _ := openWith(t, path, filesource.Config{Poll: -1}, filesource.Faults{Before: s.Before})
			swap(t, put(t, path+"2", lineTwo), path)
			s.fail(op)
			start, want := time.Now(), 400*time.Millisecond
			if op == "" {
				want = 10 * time.Millisecond
			}
			if err := file.Reload(); err != nil || has(file, one) || time.Since(start) != want {
				t.Errorf("without %s: got %v, %v after %v", op, err, file.List(), time.Since(start))
			}
		})
	}
}

// TestChainOfLinks: the newest link of a chain counts, relative ones and absolute, and
// those of folders.
func TestChainOfLinks(t *testing.T) {
	for _, which := range []string{"a", "b", "c"} {
		for _, absolute := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				at := func(name string) string {
					if absolute {
						return dir + "/" + name
					}
					return name
				}
				if err := errors.Join(os.Mkdir(dir+"/old", 0o700), os.Mkdir(dir+"/new", 0o700)); err != nil {
					t.Fatal(err)
				}
				put(t, dir+"/old/file", lineOne+lineTwo)
				put(t, dir+"/new/file", lineTwo)
				for name, to := range map[string]string{"a": "b", "b": "c", "c": "old/file"} {
					if err := os.Symlink(at(to), dir+"/"+name); err != nil {
						t.Fatal(err)
					}
				}
				file, _ := openWith(t, dir+"/a", filesource.Config{Poll: -1}, filesource.Faults{})
				swap(t, at("new/file"), dir+"/"+which)
				start := time.Now()
				if err := file.Reload(); err != nil || has(file, one) || !has(file, two) || time.Since(start) != 10*time.Millisecond {
					t.Errorf("%s, absolute %v: got %v, %v after %v", which, absolute, err, file.List(), time.Since(start))
				}
			})
		}
	}
}

// TestReloadReadsWhateverTheTimesSay: a change that leaves no trace, as a memory map may make
// it, is found by Reload at once.
func TestReloadReadsWhateverTheTimesSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne)
		first, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		unchanged := func(fs.FileInfo) fs.FileInfo { return first }
		file, _ := openWith(t, path, filesource.Config{Poll: -1}, filesource.Faults{Info: unchanged})
		time.Sleep(10 * time.Second)
		if err := file.Reload(); err != nil { // it has settled
			t.Fatal(err)
		}
		put(t, path, lineTwo)
		if err := file.Reload(); err != nil || has(file, one) || !has(file, two) {
			t.Errorf("got %v, %v", err, file.List())
		}
	})
}
