//go:build linux

package filesource_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

// save writes a file in place, as slowly as the pauses say: one before each part but
// the first, all after the file was emptied.
func save(t testing.TB, path string, pause time.Duration, parts ...string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for _, part := range parts {
		time.Sleep(pause)
		if _, err := f.WriteString(part); err != nil {
			t.Error(err)
		}
	}
}

// TestEditWaitsForAWriter: Create and Delete begin while another program has
// emptied the file, or written half of it, and is about to write the rest. Nothing
// of it may be lost, and the edit must not be either.
func TestEditWaitsForAWriter(t *testing.T) {
	const pause = 250 * time.Millisecond
	for _, parts := range [][]string{
		{"", lineOne + lineTwo},
		{lineOne, lineTwo},
		{lineOne[:len(lineOne)/2], lineOne[len(lineOne)/2:] + lineTwo},
		{"# comment\n", lineOne, lineTwo},
	} {
		for delay := 10 * time.Millisecond; delay < time.Duration(len(parts)+1)*pause; delay += 77 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) {
				path := put(t, tokensPath(t), lineOne+lineTwo+"x/y/z:"+hashA+"\n")
				file, _ := open(t, path, filesource.Config{})
				go save(t, path, pause, append(slices.Clone(parts), "x/y/z:"+hashA+"\n")...)
				time.Sleep(delay)
				if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
					t.Error(err)
				}
				if err := file.Delete(t.Context(), fleet.TokenID("two")); err != nil {
					t.Error(err)
				}
				time.Sleep(10 * time.Second)
				want := []string{"elastic/fleet-server/new", one, "x/y/z"}
				var got []string
				for line := range strings.Lines(read(t, path)) {
					if name, _, ok := strings.Cut(line, ":"); ok {
						got = append(got, name)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("parts %q, delay %v (-want +got):\n%s", parts, delay, diff)
				}
				if !has(file, want...) || len(file.List()) != 3 {
					t.Errorf("the File has %v", file.List())
				}
			})
		}
	}
}

// TestPausingWriter: a writer stops for a quarter of a second, anywhere in the text.
// Neither the poller nor Reload believes what it has written so far.
func TestPausingWriter(t *testing.T) {
	const whole = "# comment\n" + lineOne + "x/y/z:" + hashA + "\n" + lineTwo
	for _, poll := range []time.Duration{-1, 50 * time.Millisecond, time.Second} {
		t.Run(fmt.Sprint("poll ", poll), func(t *testing.T) {
			for cut := 0; cut < len(whole); cut += 9 {
				synctest.Test(t, func(t *testing.T) {
					path := put(t, tokensPath(t), whole)
					file, _ := open(t, path, filesource.Config{Poll: poll})
					time.Sleep(17 * time.Millisecond * time.Duration(cut%7))
					go save(t, path, 250*time.Millisecond, whole[:cut], whole[cut:])
					for range 100 {
						time.Sleep(10 * time.Millisecond)
						if poll < 0 {
							if err := file.Reload(); err != nil {
								t.Error(err)
							}
						}
						if !has(file, one, two, "x/y/z") || file.Status().Err != nil {
							t.Fatalf("cut at %d: got %v", cut, file.Status())
						}
					}
				})
			}
		})
	}
}

// TestManySavesInPlace: 100 saves in place, each with a short moment in which the
// file is empty, and Reload all the time.
func TestManySavesInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne+lineTwo)
		file, _ := open(t, path, filesource.Config{Poll: -1})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 100 {
				save(t, path, 3*time.Millisecond, fmt.Sprintf("# save %d\n", i)+lineOne, lineTwo)
				time.Sleep(time.Duration(i%30) * time.Millisecond)
			}
		}()
		for reloads := 0; ; reloads++ {
			if err := file.Reload(); err != nil || !has(file, one, two) {
				t.Fatalf("reload %d: got %v, %+v", reloads, err, file.Status())
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
}

// TestRestlessFile: a file that changes all the time does not keep a removed token
// alive: what looks complete is taken after ten times Config.Rest.
func TestRestlessFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne+lineTwo)
		file, _ := open(t, path, filesource.Config{Poll: 50 * time.Millisecond})
		changing := time.Now()
		for i := range 500 {
			put(t, path, lineTwo+fmt.Sprintf("# %d\n", i))
			time.Sleep(15 * time.Millisecond)
			if !has(file, one) {
				if took := time.Since(changing); took < 400*time.Millisecond || took > 5*time.Second {
					t.Errorf("taken after %v", took)
				}
				return
			}
		}
		t.Error("the removed token lives on")
	})
}

// TestEmptiedFileGetsTheMostPatience: it is believed in the end.
func TestEmptiedFileGetsTheMostPatience(t *testing.T) {
	for _, test := range []struct {
		name    string
		content string
		want    time.Duration
	}{
		{"empty", "", 2 * time.Second},
		{"only comments", "# comment\n", 2 * time.Second},
		{"no line end", lineTwo[:len(lineTwo)-1], 2 * time.Second},
		{"removal", lineTwo, 400 * time.Millisecond},
		{"removal, ended by CR", strings.TrimSpace(lineTwo) + "\r", 400 * time.Millisecond},
		{"another hash", strings.Replace(lineOne, hashA, hashB, 1) + lineTwo, 400 * time.Millisecond},
		{"addition", lineOne + lineTwo + "x/y/z:" + hashA + "\n", 10 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := put(t, tokensPath(t), lineOne+lineTwo)
				file, _ := open(t, path, filesource.Config{Poll: -1})
				before := file.Status().Changed
				put(t, path, test.content)
				start := time.Now()
				if err := file.Reload(); err != nil || file.Status().Changed == before {
					t.Errorf("got %v, %+v", err, file.Status())
				}
				if took := time.Since(start); took != test.want {
					t.Errorf("took %v, want %v", took, test.want)
				}
			})
		})
	}
}

// TestOpenWaitsForNothing: except for a file that was just written and looks unfinished.
// A file without tokens needs no patience if there were none before.
func TestOpenWaitsForNothing(t *testing.T) {
	for _, test := range []struct {
		name    string
		content string // "-": no file
		want    time.Duration
	}{
		{"missing", "-", 0},
		{"good", lineOne, 0},
		{"without tokens", "# comment\n", 0},
		{"empty", "", 400 * time.Millisecond},
		{"without a line end", strings.TrimSpace(lineOne), 400 * time.Millisecond},
		{"bad", "bad\n", 400 * time.Millisecond},
		{"a pipe", "|", 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			path := tokensPath(t)
			switch test.content {
			case "-":
			case "|":
				if err := syscall.Mkfifo(path, 0o600); err != nil {
					t.Fatal(err)
				}
			default:
				put(t, path, test.content)
			}
			start := time.Now()
			file, err := filesource.Open(path, filesource.Config{Poll: -1})
			if took := time.Since(start); took != test.want || (err == nil) != (test.content != "bad\n" && test.content != "|") {
				t.Errorf("%s: Open took %v, got %v", test.name, took, err)
			}
			if test.content != "-" || err != nil {
				return
			}
			put(t, path, "# comment\n")
			start = time.Now()
			if err := file.Reload(); err != nil || time.Since(start) != 10*time.Millisecond {
				t.Errorf("a file without tokens: got %v after %v", err, time.Since(start))
			}
		})
	}
}

// TestRelativePath: of a file in the working directory, also one that is still missing.
func TestRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	file, _ := open(t, "service_tokens", filesource.Config{Poll: -1, Rest: -1})
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
		t.Fatal(err)
	}
	if err := file.Delete(t.Context(), fleet.TokenID("new")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".service_tokens.lock", "service_tokens"}, folder(t, "service_tokens")); diff != "" {
		t.Errorf("the folder (-want +got):\n%s", diff)
	}
	if err := os.Symlink("missing", "link"); err != nil {
		t.Fatal(err)
	}
	file, _ = open(t, "link", filesource.Config{Poll: -1, Rest: -1})
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil || !strings.Contains(read(t, "missing"), "/new:") {
		t.Errorf("got %v", err)
	}
}

// odd has what may be in the file's place.
var odd = []struct {
	name string
	make func(path string) error
	says string
}{
	{"a pipe", func(path string) error { return syscall.Mkfifo(path, 0o600) }, "not a regular file, but a pipe"},
	{"a link to a pipe", func(path string) error {
		return errors.Join(syscall.Mkfifo(path+".pipe", 0o600), os.Symlink(path+".pipe", path))
	}, "not a regular file, but a pipe"},
	{"a folder", func(path string) error { return os.Mkdir(path, 0o700) }, "not a regular file, but a folder"},
	{"a device", func(path string) error { return os.Symlink("/dev/zero", path) }, "not a regular file, but a device"},
	{"a socket", func(path string) error {
		s, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		defer syscall.Close(s)
		return syscall.Bind(s, &syscall.SockaddrUnix{Name: path})
	}, "not a regular file, but a socket"},
	{"a sparse terabyte", func(path string) error {
		return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40))
	}, "has more than 268435456 bytes"},
	{"a loop of links", func(path string) error { return os.Symlink(path, path) }, "too many"},
}

// TestOddFiles: something else in the file's place is an error for Open, Reload, the
// poller and edits. It stops none of them, and is left as it is. The file is loaded when
// it is back.
func TestOddFiles(t *testing.T) {
	for _, odd := range odd {
		t.Run(odd.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, err := os.MkdirTemp("", "") // short: the path of a socket has 108 bytes at most
				if err != nil {
					t.Fatal(err)
				}
				defer os.RemoveAll(dir)
				path := filepath.Join(dir, "service_tokens")
				says := func(err error) {
					t.Helper()
					if err == nil || !strings.Contains(err.Error(), odd.says) || !strings.Contains(err.Error(), path) {
						t.Errorf("got %v, want it to say %q", err, odd.says)
					}
				}
				put(t, path, lineOne)
				file, cache := open(t, path, filesource.Config{})
				if err := errors.Join(os.Remove(path), odd.make(path)); err != nil {
					t.Fatal(err)
				}
				kind := func() fs.FileMode {
					info, err := os.Lstat(path)
					if err != nil {
						t.Fatal(err)
					}
					return info.Mode()
				}
				before := kind()
				says(second(filesource.Open(path, filesource.Config{})))
				time.Sleep(2 * time.Second)
				says(file.Status().Err)
				says(file.Reload())
				says(second(file.Create(t.Context(), fleet.TokenID("new"))))
				says(file.Delete(t.Context(), fleet.TokenID("one")))
				if !works(t, cache, one) || kind() != before {
					t.Error("the last good token does not work, or the thing was replaced")
				}
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				put(t, path, lineTwo)
				time.Sleep(3 * time.Second)
				if works(t, cache, one) || !works(t, cache, two) || file.Status().Err != nil {
					t.Errorf("the right file is not loaded: %+v", file.Status())
				}
				file.Close()
			})
		})
	}
}

// TestMaxBytes: the limit itself is allowed.
func TestMaxBytes(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	size := int64(len(lineOne))
	for _, test := range []struct {
		most int64
		ok   bool
	}{{size, true}, {size - 1, false}, {-1, true}, {0, true}, {math.MaxInt64, true}} {
		file, err := filesource.Open(path, filesource.Config{Poll: -1, MaxBytes: test.most})
		if (err == nil) != test.ok || err == nil && !has(file, one) {
			t.Errorf("MaxBytes %d: got %v", test.most, err)
		}
	}
}

// TestEditsKeepWithinMaxBytes: an edit does not write a file that no reader would accept.
func TestEditsKeepWithinMaxBytes(t *testing.T) {
	path := put(t, tokensPath(t), lineOne+lineTwo)
	size := int64(len(lineOne + lineTwo))
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1, MaxBytes: size})
	tok, err := file.Create(t.Context(), fleet.TokenID("new"))
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("more than %d bytes", size)) || tok.Secret().Len() > 0 {
		t.Errorf("Create: got %v", err)
	}
	if read(t, path) != lineOne+lineTwo || len(folder(t, path)) != 1 { // nor a lock
		t.Errorf("the file is %q, beside %v", read(t, path), folder(t, path))
	}
	if err := file.Delete(t.Context(), fleet.TokenID("one")); err != nil {
		t.Errorf("Delete: got %v", err)
	}
	// What is written may have the size itself.
	file, _ = open(t, path, filesource.Config{Poll: -1, Rest: -1})
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
		t.Fatal(err)
	}
	size = int64(len(read(t, path)))
	if err := file.Delete(t.Context(), fleet.TokenID("new")); err != nil {
		t.Fatal(err)
	}
	file, _ = open(t, path, filesource.Config{Poll: -1, Rest: -1, MaxBytes: size})
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
		t.Error(err)
	}
}

// TestBoundedMessages: however much is wrong with a file, the error, the status and
// the log stay short and say how much more there is.
func TestBoundedMessages(t *testing.T) {
	const n = 100_000
	bad := put(t, tokensPath(t), strings.Repeat("bad\n", n))
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	_, err := filesource.Open(bad, filesource.Config{Poll: -1, Rest: -1, Logger: logger})
	formatErr, ok := errors.AsType[*filesource.FormatError](err)
	if !ok || len(formatErr.Lines) != 20 || formatErr.More != n-20 || formatErr.Lines[19].Line != 20 {
		t.Fatalf("got %v", err)
	}
	if !strings.Contains(err.Error(), "has 100000 bad lines") || !strings.HasSuffix(err.Error(), "\nand 99980 more") || len(err.Error()) > 5000 {
		t.Errorf("got %v", err)
	}
	unknown := put(t, tokensPath(t), strings.Repeat("x/y/z:plain\n", n))
	file, err := filesource.Open(unknown, filesource.Config{Poll: -1, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	st := file.Status()
	if len(st.Warnings) != 20 || st.MoreWarnings != n-20 || st.Tokens != 0 {
		t.Errorf("got %d warnings and %d more", len(st.Warnings), st.MoreWarnings)
	}
	if log.Len() > 20_000 || !strings.Contains(log.String(), "more=99980") {
		t.Errorf("the log has %d bytes", log.Len())
	}
	one := put(t, tokensPath(t), strings.Repeat("bad\n", 21))
	if _, err := filesource.Open(one, filesource.Config{Poll: -1, Rest: -1}); err == nil || !strings.HasSuffix(err.Error(), "\nand 1 more") {
		t.Errorf("got %v", err)
	}
	if n := strings.Count(log.String(), "path="+unknown+" line=\""); n != 20 || !strings.Contains(log.String(), `msg="service tokens file loaded" path=`+unknown) {
		t.Errorf("the log names %d lines", n)
	}
	long := put(t, tokensPath(t), strings.Repeat("a", 600)+":"+hashA+"\n")
	if _, err := filesource.Open(long, filesource.Config{Poll: -1, Rest: -1}); err == nil || !strings.Contains(err.Error(), "at most 514 bytes") {
		t.Errorf("got %v", err)
	}
	twenty := put(t, tokensPath(t), strings.Repeat("bad\n", 20))
	if _, err := filesource.Open(twenty, filesource.Config{Poll: -1, Rest: -1}); err == nil || strings.Contains(err.Error(), "more") {
		t.Errorf("got %v", err)
	}
}

// TestMemory: to read a file takes at most three times its size, whatever is in it.
func TestMemory(t *testing.T) {
	const size = 2 << 20
	repeat := func(s string) string { return strings.Repeat(s, size/len(s)) }
	for _, test := range []struct{ name, content string }{
		{"line ends", repeat("\n")},
		{"carriage returns", repeat("\r")},
		{"colons", repeat(":")},
		{"colons on lines", repeat(":\n")},
		{"bad lines", repeat("b\n")},
		{"bad names", repeat("a/b/_:x\n")},
		{"bad hashes", repeat("a/b/c:{PBKDF2}\n")},
		{"bad and good", "b\n" + shortTokens(size)},
		{"one line", repeat("x")},
		{"one line with a colon", repeat("x") + ":"},
		{"unknown hashes", repeat("a/b/c:x\n")},
		{"one token again and again", repeat("a/b/c:" + hashA + "\n")},
		{"zeros", repeat("\x00")},
		{"tokens", shortTokens(size)},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := put(t, tokensPath(t), test.content)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			most := peak(func() { filesource.Open(path, filesource.Config{Poll: -1, Rest: -1}) })
			if grown := int64(most) - int64(before.HeapAlloc); grown > 3*size {
				t.Errorf("takes %.1f times the size", float64(grown)/size)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 1<<20 {
				t.Errorf("%d bytes stay", grown)
			}
		})
	}
}

// peak returns the most memory that is in use while it calls do, garbage included, by
// samples.
func peak(do func()) (most uint64) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for {
			metrics.Read(sample)
			most = max(most, sample[0].Value.Uint64())
			select {
			case <-stop:
				return
			default:
				runtime.Gosched()
			}
		}
	}()
	do()
	close(stop)
	<-stopped
	return most
}

// shortTokens returns a file of tokens with the shortest names and hashes.
func shortTokens(size int) string {
	const hash = "$2a$04$abcdefghijklmnopqrstuuToT0LAsoQ9PgZuCq77K74UDXwTR/yNa"
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "a/b/%x:%s\n", i, hash)
	}
	return b.String()
}

// TestSwapWhileWaitingForTheLock: ..data is swapped while an edit waits for the lock. The
// edit is in force in what the path names then.
func TestSwapWhileWaitingForTheLock(t *testing.T) {
	t.Run("create", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var created tokencache.Token
			path, file, cache := swapDuring(t, func(file *filesource.File) (err error) {
				created, err = file.Create(t.Context(), fleet.TokenID("new"))
				return err
			})
			if _, err := cache.AuthenticateToken(t.Context(), created); err != nil || !has(file, one, two) {
				t.Errorf("the created token: got %v, the file has %v", err, file.List())
			}
			if content := read(t, path); !strings.Contains(content, "/new:") {
				t.Errorf("the created token is not in the file:\n%s", content)
			}
		})
	})
	t.Run("delete", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			path, _, cache := swapDuring(t, func(file *filesource.File) error {
				return file.Delete(t.Context(), fleet.TokenID("one"))
			})
			if content := read(t, path); works(t, cache, one) || !works(t, cache, two) || content != lineTwo {
				t.Errorf("the deleted token works, or the file is\n%s", content)
			}
		})
	})
}

// swapDuring begins an edit of a file with one token behind ..data, which waits for a
// lock, swaps ..data to a file with two, gives the lock back, and returns when the edit
// has.
func swapDuring(t *testing.T, edit func(*filesource.File) error) (path string, file *filesource.File, cache *tokencache.Cache[filesource.Record]) {
	t.Helper()
	dir := t.TempDir()
	publish(t, dir, "..v1", lineOne)
	path = filepath.Join(dir, "service_tokens")
	if err := os.Symlink(filepath.Join("..data", "service_tokens"), path); err != nil {
		t.Fatal(err)
	}
	file, cache = open(t, path, filesource.Config{Poll: -1})
	unlock, err := filesource.TryLock(filepath.Join(dir, "..v1", "service_tokens"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- edit(file) }()
	time.Sleep(time.Second)
	publish(t, dir, "..v2", lineOne+lineTwo)
	unlock()
	if err := errors.Join(<-done, file.Reload()); err != nil {
		t.Error(err)
	}
	return path, file, cache
}

// publish makes a version of the folder behind ..data, and swaps ..data to it, as
// Kubernetes does.
func publish(t *testing.T, dir, version, content string) {
	t.Helper()
	inVersion, next := filepath.Join(dir, version), filepath.Join(dir, "..tmp")
	if err := errors.Join(
		os.Mkdir(inVersion, 0o700),
		os.WriteFile(filepath.Join(inVersion, "service_tokens"), []byte(content), 0o600),
		os.Symlink(version, next),
		os.Rename(next, filepath.Join(dir, "..data")),
	); err != nil {
		t.Fatal(err)
	}
}

// TestFolderReaderCannotBlockWriters: a user who may read the folder can lock the folder,
// but a user who may only read the tokens file cannot open the lock.
func TestFolderReaderCannotBlockWriters(t *testing.T) {
	for _, test := range []struct{ file, lock fs.FileMode }{
		{0o600, 0o600}, {0o640, 0o600}, {0o644, 0o600}, {0o660, 0o660}, {0o664, 0o660}, {0o666, 0o666}, {0o400, 0o600}, {0o755, 0o600},
	} {
		path := put(t, tokensPath(t), lineOne)
		if err := os.Chmod(path, test.file); err != nil {
			t.Fatal(err)
		}
		d, err := os.Open(filepath.Dir(path))
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := file.Create(ctx, fleet.TokenID("new")); err != nil {
			t.Error(err)
		}
		info, err := os.Stat(filepath.Join(filepath.Dir(path), ".service_tokens.lock"))
		if err != nil || info.Mode() != test.lock {
			t.Errorf("file %v: the lock has %v, %v, want %v", test.file, info.Mode(), err, test.lock)
		}
	}
}

// TestPipeInTheLocksPlace: an edit says what is there, and does not wait for it.
func TestPipeInTheLocksPlace(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	lock := filepath.Join(filepath.Dir(path), ".service_tokens.lock")
	if err := syscall.Mkfifo(lock, 0o600); err != nil {
		t.Fatal(err)
	}
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	_, err := file.Create(t.Context(), fleet.TokenID("new"))
	if want := "filesource: " + lock + " is the lock of the tokens file, and not a regular file, but a pipe"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestOnlyALockIsShared: a file in the lock's place that has content, or another name
// too, keeps its owner and its mode.
func TestOnlyALockIsShared(t *testing.T) {
	for name, make := range map[string]func(lock string) error{
		"text": func(lock string) error { return os.WriteFile(lock, []byte("x"), 0o600) },
		"another name": func(lock string) error {
			return errors.Join(os.WriteFile(lock+"2", nil, 0o600), os.Link(lock+"2", lock))
		},
		"": func(lock string) error { return os.WriteFile(lock, nil, 0o600) },
	} {
		path := put(t, tokensPath(t), lineOne)
		lock := filepath.Join(filepath.Dir(path), ".service_tokens.lock")
		if err := errors.Join(make(lock), os.Chmod(path, 0o666)); err != nil {
			t.Fatal(err)
		}
		file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
		if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
			t.Error(err)
		}
		want := fs.FileMode(0o600)
		if name == "" {
			want = 0o666
		}
		if info, err := os.Stat(lock); err != nil || info.Mode() != want {
			t.Errorf("%s: got mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
}

// TestLeftovers: temporary files of writers that were killed are removed by the next
// one, and nothing else is.
func TestLeftovers(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	dir := filepath.Dir(path)
	const old, fresh = 61 * time.Second, 50 * time.Second
	for name, age := range map[string]time.Duration{
		".service_tokens-123.tmp": old, ".service_tokens-4567890123.tmp": old,
		".service_tokens-124.tmp": fresh, ".service_tokens-.tmp": old, ".service_tokens-12a.tmp": old,
		".service_tokens-123": old, "service_tokens-123.tmp": old, ".other-123.tmp": old,
	} {
		stamp := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(filepath.Join(dir, name), nil, 0o600), os.Chtimes(filepath.Join(dir, name), stamp, stamp)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".service_tokens-99.tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	stamp := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, ".service_tokens-99.tmp"), stamp, stamp); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
		t.Fatal(err)
	}
	want := []string{
		".other-123.tmp", ".service_tokens-.tmp", ".service_tokens-123", ".service_tokens-124.tmp", ".service_tokens-12a.tmp",
		".service_tokens-99.tmp", ".service_tokens.lock", "service_tokens", "service_tokens-123.tmp",
	}
	if diff := cmp.Diff(want, folder(t, path)); diff != "" {
		t.Errorf("the folder (-want +got):\n%s", diff)
	}
}

// TestEditIsLinear: an edit takes no more than some reloads, for lines of one name
// as well as for many names.
func TestEditIsLinear(t *testing.T) {
	for _, test := range []struct{ name, content string }{
		{"one name", strings.Repeat(lineOne, 40_000) + lineTwo},
		{"many names", lineOne + lineTwo + manyTokens(40_000)},
		{"comments", strings.Repeat("# comment\n", 40_000) + lineOne + strings.Repeat("# comment\n", 40_000) + lineTwo},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := put(t, tokensPath(t), test.content)
			start := time.Now()
			file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
			opened := time.Since(start)
			start = time.Now()
			if err := file.Delete(t.Context(), fleet.TokenID("one")); err != nil {
				t.Fatal(err)
			}
			if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
				t.Fatal(err)
			}
			// Generous, for a busy machine: the quadratic way took 1000 times as long.
			if took := time.Since(start); took > 40*opened+2*time.Second {
				t.Errorf("two edits took %v, and Open %v", took, opened)
			}
			if has(file, one) || !has(file, two, "elastic/fleet-server/new") {
				t.Error("the edits are not in force")
			}
		})
	}
}

// TestLinks: an edit creates a dangling link's target, and replaces no link.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "real", "deep"), 0o700), os.Symlink("real/deep", filepath.Join(dir, "folder"))); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, link, target, want string }{
		{"relative", "relative", "real/file1", "real/file1"},
		{"absolute", "absolute", filepath.Join(dir, "real", "file2"), "real/file2"},
		{"up from a linked folder", "folder/up", "../file3", "real/file3"},
		{"through a linked folder", "through", "folder/../file4", "real/file4"},
		{"chain", "chain", "folder/up", "real/file3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(dir, test.link)
			if err := os.Symlink(test.target, path); err != nil {
				t.Fatal(err)
			}
			file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
			if _, err := file.Create(t.Context(), fleet.TokenID(strings.ReplaceAll(test.name, " ", "-"))); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Lstat(path); err != nil || info.Mode()&fs.ModeSymlink == 0 {
				t.Errorf("the link was replaced: %v, %v", info.Mode(), err)
			}
			if !strings.Contains(read(t, filepath.Join(dir, test.want)), strings.ReplaceAll(test.name, " ", "-")) {
				t.Error("the target has no such token")
			}
		})
	}
	path := filepath.Join(dir, "nowhere")
	if err := os.Symlink("missing/file", path); err != nil {
		t.Fatal(err)
	}
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link to a folder that does not exist: got %v", err)
	}
	if err := file.Delete(t.Context(), fleet.TokenID("new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a link to a folder that does not exist: got %v", err)
	}
}

// TestSilence: no error, status or log shows the content of a mistyped line.
func TestSilence(t *testing.T) {
	const secret = "hunter2hunter2"
	content := strings.Join([]string{
		secret + ":elastic/fleet-server/a", "elastic/fleet-server/a " + secret + " # at 10:00", "elastic/fleet-server/a=" + secret + " x:y",
		secret, secret + ":" + secret, "elastic/fleet-server/" + secret + "+:x", "a/b/" + secret + "\xff:x", "a/b/c:{PBKDF2}" + secret,
		"a/b/c:$2a$04$" + secret, "a/b/c:{SSHA256}" + secret, "a/b/d:" + secret, "a/b/e:{SHA}" + secret, strings.Repeat(secret, 1000) + ":x",
	}, "\n")
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	_, err := filesource.Open(put(t, tokensPath(t), content), filesource.Config{Poll: -1, Rest: -1, Logger: logger})
	formatErr, ok := errors.AsType[*filesource.FormatError](err)
	if !ok || len(formatErr.Lines) != 11 {
		t.Fatalf("got %v", err)
	}
	good := put(t, tokensPath(t), "a/b/c:"+hashA+"\na/b/d:"+secret+"\na/b/e:{SHA}"+secret+"\n")
	file, _ := open(t, good, filesource.Config{Poll: -1, Rest: -1, Logger: logger})
	answer, lookupErr := file.Lookup(t.Context(), tokencache.Account{Namespace: "a", Service: "b"}.TokenID("c"))
	put(t, good, content)
	reloadErr := file.Reload()
	_, createErr := file.Create(t.Context(), fleet.TokenID("new"))
	var show strings.Builder
	show.WriteString(log.String())
	for _, v := range []any{err, formatErr, *formatErr, formatErr.Lines, file.Status(), answer, lookupErr, reloadErr, createErr, file} {
		fmt.Fprintf(&show, "%v %+v %#v %s\n", v, v, v, v)
	}
	shown := show.String()
	for _, secret := range []string{secret, hashA, hashA[9:30]} {
		if i := strings.Index(shown, secret); i >= 0 {
			t.Errorf("%q is shown: ...%s", secret, shown[max(0, i-200):i+len(secret)])
		}
	}
}

// TestCallback: OnReload may call every method of the File, whichever goroutine calls it.
// What it changes is reported after it, one call at a time and in order.
func TestCallback(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*testing.T, *filesource.File)
	}{
		"poller": {func(t *testing.T, file *filesource.File) {
			put(t, file.Path(), lineOne+lineTwo)
			time.Sleep(5 * time.Second)
		}},
		"Reload": {func(t *testing.T, file *filesource.File) {
			put(t, file.Path(), lineOne+lineTwo)
			if err := file.Reload(); err != nil {
				t.Error(err)
			}
		}},
		"Create": {func(t *testing.T, file *filesource.File) {
			if _, err := file.Create(t.Context(), fleet.TokenID("two")); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var file *filesource.File
				var told []int // how many tokens there were
				inside := false
				file, _ = open(t, put(t, tokensPath(t), lineOne), filesource.Config{Poll: time.Second, OnReload: func(st filesource.Status) {
					if file == nil {
						return // in Open
					}
					if inside {
						t.Error("called while it is called")
					}
					inside = true
					defer func() { inside = false }()
					switch told = append(told, st.Tokens); len(told) {
					case 1:
						callEverything(t, file)
					case 3:
						file.Close()
						file.Close()
					}
				}})
				test.change(t, file)
				synctest.Wait()
				if diff := cmp.Diff([]int{2, 3, 2}, told); diff != "" {
					t.Errorf("tokens that were told (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// callEverything calls the methods of a File except Close: a token is created and deleted
// by them.
func callEverything(t *testing.T, file *filesource.File) {
	if err := file.Reload(); err != nil {
		t.Error(err)
	}
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
		t.Error(err)
	}
	if err := file.Delete(t.Context(), fleet.TokenID("new")); err != nil {
		t.Error(err)
	}
	file.List()
	file.Status()
}

// TestCloseDuringACallback: Close returns, no call of the poller begins afterwards,
// and the poller ends (or the bubble would not).
func TestCloseDuringACallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne)
		release, calls := make(chan struct{}), 0
		file, err := filesource.Open(path, filesource.Config{Poll: time.Second, OnReload: func(st filesource.Status) {
			if calls++; st.Tokens == 2 {
				<-release
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		put(t, path, lineOne+lineTwo)
		time.Sleep(2 * time.Second) // it is in the callback
		file.Close()
		close(release)
		synctest.Wait()
		put(t, path, lineOne+lineTwo+"x/y/z:"+hashA+"\n")
		time.Sleep(5 * time.Second)
		if calls != 2 {
			t.Errorf("called %d times", calls)
		}
	})
}

// TestCloseWhileTheLogIsWritten: OnReload is not called after Close has returned, and
// nothing more is logged.
func TestCloseWhileTheLogIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), "# no tokens\n")
		log := &stuckLog{begun: make(chan struct{}), release: make(chan struct{})}
		var told []int
		file, _ := open(t, path, filesource.Config{Poll: time.Second, Rest: -1, Logger: slog.New(log), OnReload: func(st filesource.Status) {
			told = append(told, st.Tokens)
		}})
		put(t, path, lineOne)
		<-log.begun
		file.Close()
		close(log.release)
		synctest.Wait()
		if told != nil {
			t.Errorf("called after Close: %v", told)
		}
		put(t, path, lineOne+lineTwo)
		if err := file.Reload(); !errors.Is(err, tokencache.ErrClosed) || told != nil || log.lines != 1 {
			t.Errorf("got %v with %d lines, %v", told, log.lines, err)
		}
	})
}

// A stuckLog blocks at its first line.
type stuckLog struct {
	slog.Handler
	begun, release chan struct{}
	lines          int
}

func (l *stuckLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *stuckLog) Handle(context.Context, slog.Record) error {
	if l.lines++; l.lines == 1 {
		close(l.begun)
		<-l.release
	}
	return nil
}

// TestCallbackPanics: a panic of the host's own reaches it, and nothing is stuck.
func TestCallbackPanics(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	angry := false
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1, OnReload: func(filesource.Status) {
		if angry {
			panic("no")
		}
	}})
	put(t, path, lineTwo)
	angry = true
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was lost")
			}
		}()
		file.Reload()
	}()
	angry = false
	put(t, path, lineOne)
	if err := file.Reload(); err != nil || !has(file, one) {
		t.Errorf("got %v", err)
	}
	file.Close()
}

// TestFailClosed: an outage is an error and no refusal, for tokens that are cached
// too, until the file can be read.
func TestFailClosed(t *testing.T) {
	for _, only := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			path := put(t, tokensPath(t), lineOne)
			file, cache := open(t, path, filesource.Config{FailClosed: true, OnlyChanged: only})
			if !works(t, cache, one) || works(t, cache, two) { // both are remembered
				t.Fatal("the tokens do not work")
			}
			if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			for _, name := range []string{one, two} {
				_, err := cache.AuthenticateToken(t.Context(), token(t, name, "supersecret"))
				if err == nil || errors.Is(err, tokencache.ErrRefused) || !strings.Contains(err.Error(), "not a regular file") || !has(file, name) {
					t.Errorf("%s, only %v: got %v", name, only, err)
				}
				if _, lookupErr := file.Lookup(t.Context(), fleet.TokenID("one")); !errors.Is(lookupErr, file.Status().Err) {
					t.Errorf("Lookup: got %v, want it to wrap %v", lookupErr, file.Status().Err)
				}
			}
			if st := file.Status(); st.Tokens != 0 || len(file.List()) != 0 {
				t.Errorf("got %+v", st)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			put(t, path, lineOne)
			time.Sleep(2 * time.Second)
			if !works(t, cache, one) || works(t, cache, two) || file.Status().Err != nil {
				t.Errorf("after the repair: got %+v", file.Status())
			}
		})
	}
}

// TestGoneFile: a file that has gone is a warning that names it; its tokens go after
// Config.Rest, or after KeepMissing.
func TestGoneFile(t *testing.T) {
	for _, test := range []struct {
		keep     time.Duration
		from, to time.Duration
	}{
		{0, 400 * time.Millisecond, 500 * time.Millisecond},
		{time.Minute, time.Minute, 61 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			path := put(t, tokensPath(t), lineOne)
			var log strings.Builder
			var told []bool
			file, cache := open(t, path, filesource.Config{
				Poll: 50 * time.Millisecond, KeepMissing: test.keep, Logger: slog.New(slog.NewTextHandler(&log, nil)),
				OnReload: func(st filesource.Status) { told = append(told, st.Missing) },
			})
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			for works(t, cache, one) && time.Since(start) < time.Hour {
				time.Sleep(10 * time.Millisecond)
			}
			if took := time.Since(start); took < test.from || took > test.to {
				t.Errorf("keep %v: gone after %v", test.keep, took)
			}
			synctest.Wait() // the caches are told before the status changes
			if st := file.Status(); !st.Missing || st.Tokens != 0 || st.Err != nil {
				t.Errorf("got %+v", st)
			}
			applied := file.Status().Time
			time.Sleep(3 * time.Second)
			if again := file.Status().Time; !again.Equal(applied) {
				t.Errorf("keep %v: that it is missing was applied at %v, and again at %v", test.keep, applied, again)
			}
			put(t, path, lineOne)
			time.Sleep(3 * time.Second)
			if st := file.Status(); !works(t, cache, one) || st.Missing {
				t.Errorf("got %+v", st)
			}
			file.Close()
			if !strings.Contains(log.String(), `level=WARN msg="service tokens file is gone" path=`+path) {
				t.Errorf("log:\n%s", &log)
			}
			want := []bool{false, true, false}
			if test.keep > 0 {
				want = []bool{false, true, true, false}
			}
			if diff := cmp.Diff(want, told); diff != "" {
				t.Errorf("keep %v: told (-want +got):\n%s", test.keep, diff)
			}
		})
	}
}

// TestKeptTokens: if a file comes back in time, nobody notices that it was away.
func TestKeptTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne)
		file, cache := open(t, path, filesource.Config{KeepMissing: time.Minute})
		works(t, cache, one)
		for range 3 {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Second)
			if !works(t, cache, one) || !file.Status().Missing || file.Status().Tokens != 1 {
				t.Errorf("gone: got %+v", file.Status())
			}
			put(t, path, lineOne)
			time.Sleep(20 * time.Second)
			if !works(t, cache, one) || file.Status().Missing {
				t.Errorf("back: got %+v", file.Status())
			}
		}
		if got := cache.Stats(); got.Evicted != 0 {
			t.Errorf("got %d evicted", got.Evicted)
		}
	})
}

// TestOutageDoesNotEndInTheMiddle: with FailClosed, the first half of the text that
// mends a bad file does not make refusals of the outage's errors.
func TestOutageDoesNotEndInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne+lineTwo)
		file, cache := open(t, path, filesource.Config{Poll: 50 * time.Millisecond, FailClosed: true})
		for _, bad := range []string{"bad\n", "worse\nbad\n"} {
			put(t, path, bad)
			time.Sleep(3 * time.Second)
		}
		go save(t, path, 250*time.Millisecond, lineOne, lineTwo)
		for range 100 {
			time.Sleep(10 * time.Millisecond)
			if _, err := cache.AuthenticateToken(t.Context(), token(t, two, "supersecret")); errors.Is(err, tokencache.ErrRefused) {
				t.Error(err)
				break
			}
		}
		time.Sleep(time.Second)
		if !works(t, cache, two) {
			t.Errorf("got %+v", file.Status())
		}
	})
}

// TestGoneAfterAnOutage: with FailClosed, a bad file has no tokens that could be kept
// when it is gone, and its error is over.
func TestGoneAfterAnOutage(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	file, cache := open(t, path, filesource.Config{Poll: -1, Rest: -1, FailClosed: true, KeepMissing: time.Minute})
	put(t, path, "bad\n")
	if err := file.Reload(); err == nil || !has(file, one) {
		t.Fatalf("got %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := file.Reload(); err != nil || has(file, one) || works(t, cache, one) { // works allows no error but a refusal
		t.Errorf("got %v, %+v", err, file.Status())
	}
}

// TestWarningsWhileMissing: a file that is gone, and whose tokens are kept, keeps the
// warnings of its lines too.
func TestWarningsWhileMissing(t *testing.T) {
	path := put(t, tokensPath(t), lineOne+strings.Repeat("a/b/w:x\n", 22))
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1, KeepMissing: time.Minute})
	want := file.Status()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := file.Reload(); err != nil {
		t.Fatal(err)
	}
	got := file.Status()
	if diff := cmp.Diff(want.Warnings, got.Warnings); diff != "" || got.MoreWarnings != 2 || got.Tokens != 1 || !got.Missing {
		t.Errorf("got %d more warnings, %d tokens, missing %v, and warnings (-want +got):\n%s", got.MoreWarnings, got.Tokens, got.Missing, diff)
	}
}

// TestLineEnds: a lone CR ends a line, and counts.
func TestLineEnds(t *testing.T) {
	const name = "a/b/"
	for _, test := range []struct {
		content string
		tokens  int
		warning int // the number of the line of name/w
	}{
		{"a/b/1:H\ra/b/2:H\ra/b/w:x", 2, 3},
		{"a/b/1:H\ra/b/w:x\r", 1, 2},
		{"a/b/1:H\r\na/b/2:H\r\na/b/w:x\r\n", 2, 3},
		{"a/b/1:H\r\r\na/b/w:x", 1, 3},
		{"a/b/1:H\n\ra/b/w:x", 1, 3},
		{"\r\n\r\n\r\r\n\na/b/w:x", 0, 6},
		{"# comment\ra/b/1:H\r#\r a/b/w:x", 1, 4},
	} {
		file, _ := open(t, put(t, tokensPath(t), strings.ReplaceAll(test.content, "H", hashA)), filesource.Config{Poll: -1, Rest: -1})
		st := file.Status()
		if st.Tokens != test.tokens || len(st.Warnings) != 1 || st.Warnings[0].Line != test.warning || st.Warnings[0].Token != name+"w" {
			t.Errorf("%q: got %+v", test.content, st)
		}
	}
}

// TestStatusOfAMissingFile: it has a time.
func TestStatusOfAMissingFile(t *testing.T) {
	file, _ := open(t, tokensPath(t), filesource.Config{Poll: -1})
	if st := file.Status(); st.Time.IsZero() || !st.Changed.IsZero() || !st.Missing || st.Err != nil {
		t.Errorf("got %+v", st)
	}
}

// TestOpenFailureLeavesNothing: no goroutine (the bubble would not end), and no open
// file; and neither do edits.
func TestOpenFailureLeavesNothing(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	path := put(t, tokensPath(t), "bad\n")
	before := open()
	synctest.Test(t, func(t *testing.T) {
		for range 20 {
			if _, err := filesource.Open(path, filesource.Config{}); err == nil {
				t.Error("it was opened")
			}
		}
		put(t, path, lineOne)
		file, err := filesource.Open(path, filesource.Config{Poll: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
				t.Error(err)
			}
			if err := file.Delete(t.Context(), fleet.TokenID("new")); err != nil {
				t.Error(err)
			}
		}
		file.Close()
	})
	if after := open(); after > before {
		t.Errorf("%d open files more", after-before)
	}
}

// TestListIsSorted by qualified name, whatever the order in the file.
func TestListIsSorted(t *testing.T) {
	names := []string{"b/a/a", "a/b/c", "a/b/a", "a-b/a/a", "a/b/b", "a/a/z", "A/a/a"}
	var content strings.Builder
	for _, name := range names {
		content.WriteString(name + ":" + hashA + "\n")
	}
	file, _ := open(t, put(t, tokensPath(t), content.String()), filesource.Config{Poll: -1, Rest: -1})
	var got []string
	for _, id := range file.List() {
		got = append(got, id.String())
	}
	want := slices.Sorted(slices.Values(names))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

// TestCommentsAreNoNews: a change that changes no token clears nothing, and leaves
// Changed as it is.
func TestCommentsAreNoNews(t *testing.T) {
	calls := 0
	path := put(t, tokensPath(t), lineOne)
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1, OnReload: func(filesource.Status) { calls++ }})
	st := file.Status()
	for i, content := range []string{"# comment\n" + lineOne, lineOne + "\n\n", strings.TrimSpace(lineOne) + "\r\n"} {
		put(t, path, content)
		if err := file.Reload(); err != nil {
			t.Fatal(err)
		}
		if now := file.Status(); !now.Changed.Equal(st.Changed) || !now.Time.After(st.Time) || calls != 1 {
			t.Errorf("%d: got %+v after %d calls", i, now, calls)
		}
	}
	put(t, path, lineOne+"x/y/z:plain\n")
	if err := file.Reload(); err != nil || calls != 2 || !file.Status().Changed.Equal(st.Changed) {
		t.Errorf("a new warning: got %+v, %v after %d calls", file.Status(), err, calls)
	}
}

// TestOnlyChangedTellsOfNewTokens: a load that found nothing may be in flight, and
// a refusal may be remembered.
func TestOnlyChangedTellsOfNewTokens(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	file, cache := open(t, path, filesource.Config{Poll: -1, Rest: -1, OnlyChanged: true})
	sub := &selected{}
	file.Subscribe(sub)
	works(t, cache, two) // refused, and remembered perhaps
	put(t, path, lineOne+lineTwo+"x/y/z:"+hashA+"\n")
	if err := file.Reload(); err != nil {
		t.Fatal(err)
	}
	if !works(t, cache, two) {
		t.Error("the new token does not work")
	}
	put(t, path, strings.Replace(lineOne, hashA, hashB, 1)+"x/y/z:"+hashA+"\n")
	if err := file.Reload(); err != nil {
		t.Fatal(err)
	}
	want := []string{"elastic/fleet-server/two", "x/y/z", "elastic/fleet-server/one,two"}
	slices.Sort(want)
	slices.Sort(sub.sels)
	if diff := cmp.Diff(want, sub.sels); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// A selected records the selectors that it gets.
type selected struct{ sels []string }

func (s *selected) Clear(context.Context, tokencache.Cause) int {
	s.sels = append(s.sels, "*")
	return 0
}

func (s *selected) Evict(_ context.Context, _ tokencache.Cause, sels ...tokencache.Selector) int {
	for _, sel := range sels {
		s.sels = append(s.sels, sel.String())
	}
	return 0
}

// TestOwnerIsKept: and the mode, if the process may set them.
func TestOwnerIsKept(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only the superuser can give files away")
	}
	path := put(t, tokensPath(t), lineOne)
	if err := errors.Join(os.Chown(path, 4242, 4343), os.Chmod(path, 0o664)); err != nil {
		t.Fatal(err)
	}
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"service_tokens", ".service_tokens.lock"} {
		info, err := os.Stat(filepath.Join(filepath.Dir(path), name))
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 4242 || st.Gid != 4343 {
			t.Errorf("%s belongs to %d, %d", name, st.Uid, st.Gid)
		}
		if info.Mode()&0o660 != 0o660 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

// TestWaitingEndsWithTheContext: for the lock, and for a file that does not rest.
func TestWaitingEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne)
		file, _ := open(t, path, filesource.Config{Poll: -1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var writer sync.WaitGroup
		writer.Go(func() {
			for i := range 200 {
				put(t, path, fmt.Sprintf("# %d\n", i)+lineOne)
				time.Sleep(10 * time.Millisecond)
			}
		})
		start := time.Now()
		err := file.Delete(ctx, fleet.TokenID("one"))
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || took > 1100*time.Millisecond {
			t.Errorf("got %v after %v", err, took)
		}
		writer.Wait()
		if err := file.Delete(t.Context(), fleet.TokenID("one")); err != nil {
			t.Error(err)
		}
	})
}

// swap makes a link to a file that was complete before, as far as the file system's
// clock can tell.
func swap(t testing.TB, target, path string) {
	t.Helper()
	for range 1_000_000 {
		if err := errors.Join(os.RemoveAll(path+".link"), os.Symlink(target, path+".link")); err != nil {
			t.Fatal(err)
		}
		link, err := os.Lstat(path + ".link")
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path + ".link"); err != nil || link.ModTime().After(info.ModTime()) {
			if err := errors.Join(err, os.Rename(path+".link", path)); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("the clock of the file system stands still")
}

// TestLinksAndWriters: a link that is swapped to a complete file is taken at once, one
// that leads to a file which somebody is writing is not, and neither is a file in
// the link's place.
func TestLinksAndWriters(t *testing.T) {
	const whole = lineOne + lineTwo
	for _, test := range []struct {
		name string
		act  func(t *testing.T, dir, path string)
		from time.Duration // until token one is gone
		to   time.Duration
	}{
		{"swap", func(t *testing.T, dir, path string) {
			swap(t, put(t, filepath.Join(dir, "v2"), lineTwo), path)
		}, 10 * time.Millisecond, 100 * time.Millisecond},
		{"swap of a folder", func(t *testing.T, dir, path string) {
			if err := os.Mkdir(filepath.Join(dir, "data2"), 0o700); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "data2", "v1"), lineTwo)
			time.Sleep(time.Second)
			swap(t, "data2", filepath.Join(dir, "data"))
		}, time.Second, 1100 * time.Millisecond},
		{"write behind a new link", func(t *testing.T, dir, path string) {
			swap(t, put(t, filepath.Join(dir, "v2"), whole), path)
			put(t, path, lineTwo)
		}, 400 * time.Millisecond, 500 * time.Millisecond},
		{"file in the link's place", func(t *testing.T, dir, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			put(t, path, lineTwo)
		}, 400 * time.Millisecond, 500 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				if err := os.Mkdir(filepath.Join(dir, "data1"), 0o700); err != nil {
					t.Fatal(err)
				}
				put(t, filepath.Join(dir, "data1", "v1"), whole)
				path := filepath.Join(dir, "service_tokens")
				if err := errors.Join(os.Symlink("data1", filepath.Join(dir, "data")), os.Symlink("data/v1", path)); err != nil {
					t.Fatal(err)
				}
				file, _ := open(t, path, filesource.Config{Poll: -1})
				start := time.Now()
				test.act(t, dir, path)
				if err := file.Reload(); err != nil || has(file, one) || !has(file, two) {
					t.Errorf("got %v, %v", file.List(), err)
				}
				if took := time.Since(start); took < test.from || took > test.to {
					t.Errorf("took %v, want %v to %v", took, test.from, test.to)
				}
			})
		})
	}
}

// TestBadFileGetsPatience: a bad file may be half of a good one.
func TestBadFileGetsPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne)
		file, _ := open(t, path, filesource.Config{Poll: -1})
		put(t, path, lineOne+"bad\n")
		start := time.Now()
		err := file.Reload()
		if took := time.Since(start); err == nil || took < 2*time.Second || took > 2100*time.Millisecond {
			t.Errorf("got %v after %v", err, took)
		}
	})
}

// TestTouchedWriteIsAWrite: setting the times of a file that was written in place does
// not make it look renamed.
func TestTouchedWriteIsAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne+lineTwo)
		old := put(t, path+".old", lineOne+lineTwo)
		age(t, old)
		if err := os.Rename(old, path); err != nil {
			t.Fatal(err)
		}
		file, _ := open(t, path, filesource.Config{Poll: -1})
		time.Sleep(time.Second)
		put(t, path, lineTwo)
		age(t, path)
		start := time.Now()
		if err := file.Reload(); err != nil || has(file, one) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took < 400*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// TestModeSetDuringAWrite: that is no sign of a rename either, even if the File has not
// seen the file rest.
func TestModeSetDuringAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne)
		file, _ := open(t, path, filesource.Config{Poll: -1})
		if err := errors.Join(appendTo(path, lineTwo), file.Reload()); err != nil || !has(file, one, two) { // without rest: it lacks nothing
			t.Fatal(err, file.List())
		}
		put(t, path, lineTwo)
		age(t, path) // as chmod does after a pause: the two times differ
		start := time.Now()
		if err := file.Reload(); err != nil || has(file, one) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took < 400*time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

// TestDeleteKeepsComments: even those of the last token.
func TestDeleteKeepsComments(t *testing.T) {
	path := put(t, tokensPath(t), "# top\n\n# of one\n"+lineOne+"# of two\n"+lineTwo+"# end\n")
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	for _, name := range []string{"two", "one"} {
		if err := file.Delete(t.Context(), fleet.TokenID(name)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := read(t, path), "# top\n\n# of one\n# of two\n# end\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
