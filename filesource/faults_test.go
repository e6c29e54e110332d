//go:build linux

package filesource_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/filesource"
)

var errFault = errors.New("injected fault")

// A script is what happens before system calls.
type script struct {
	mu     sync.Mutex                  // guards the fields below: the follower calls while the test sets
	before func(op, path string) error // nil: nothing
	ops    []string
}

func (s *script) Before(op, path string) error {
	s.mu.Lock()
	s.ops = append(s.ops, op)
	before := s.before
	s.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(op, path)
}

// set makes each call from now on call before first; nil: nothing.
func (s *script) set(before func(op, path string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = before
}

// count counts the calls of an operation since the last count.
func (s *script) count(op string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.ops {
		if o == op {
			n++
		}
	}
	s.ops = nil
	return n
}

// tally counts the calls of all operations since the last count.
func (s *script) tally() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := make(map[string]int)
	for _, op := range s.ops {
		n[op]++
	}
	s.ops = nil
	return n
}

// on returns a hook that acts before the first call of op, and then no more.
func (s *script) on(op string, act func() error) {
	s.set(func(o, _ string) error {
		if o != op {
			return nil
		}
		s.set(nil)
		return act()
	})
}

// fail makes every call of op fail.
func (s *script) fail(op string) {
	s.set(func(o, _ string) error {
		if o == op {
			return errFault
		}
		return nil
	})
}

// TestEditFaults: an error of any system call before the file is replaced leaves the
// file, the tokens and the caches as they were, and nothing beside the file.
func TestEditFaults(t *testing.T) {
	for _, op := range []string{
		"stat", "resolve", "lock", "open", "read-fstat", "read-read",
		"createtemp", "chmod", "write", "sync", "fstat", "close", "chtimes", "rename",
	} {
		for _, create := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/create=%v", op, create), func(t *testing.T) {
				s := &script{}
				path := put(t, tokensPath(t), lineOne+lineTwo)
				file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
				sub := &selected{}
				file.Subscribe(sub)
				edit := func() error {
					if !create {
						return file.Delete(t.Context(), fleet.TokenID("one"))
					}
					created, err := file.Create(t.Context(), fleet.TokenID("new"))
					if err != nil && created.Secret().Len() > 0 {
						t.Error("a token was returned")
					}
					return err
				}
				s.count("")
				s.fail(op)
				if err := edit(); !errors.Is(err, errFault) || !strings.HasPrefix(err.Error(), "filesource: ") {
					t.Errorf("got %v, want %v", err, errFault)
				}
				if n := s.tally(); op != "open" && n["open"] != n["read-close"] {
					t.Errorf("%d files were opened, %d closed", n["open"], n["read-close"])
				}
				if got := read(t, path); got != lineOne+lineTwo || !has(file, one) || len(file.List()) != 2 || sub.sels != nil {
					t.Errorf("the file is %q, the File has %v and told %v", got, file.List(), sub.sels)
				}
				for _, name := range folder(t, path) {
					if strings.Contains(name, ".tmp") {
						t.Errorf("%s was left behind", name)
					}
				}
				s.set(nil)
				if err := edit(); err != nil || has(file, "elastic/fleet-server/new") != create || has(file, one) != create || len(sub.sels) != 1 {
					t.Errorf("without the fault: got %v, the File has %v and told %v", err, file.List(), sub.sels)
				}
			})
		}
	}
}

// TestEditWritesLargePieces: each write may be a message to another machine.
func TestEditWritesLargePieces(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne+manyTokens(1000))
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	s.count("")
	if err := file.Delete(t.Context(), fleet.TokenID("one")); err != nil {
		t.Fatal(err)
	}
	if n, most := s.count("write"), 1+len(read(t, path))/(32<<10); n > most {
		t.Errorf("%d writes for %d bytes, want %d at most", n, len(read(t, path)), most)
	}
}

// TestTempName: an edit's temporary file has a name that a later edit sweeps away, in
// case the writer is killed.
func TestTempName(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne)
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	name := ""
	s.set(func(op, path string) error {
		if op == "write" {
			name = filepath.Base(path)
		}
		return nil
	})
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^\.service_tokens-[0-9]+\.tmp$`).MatchString(name) {
		t.Errorf("it wrote %q", name)
	}
}

// TestHarmlessFaults: an edit can do without sweeping the folder.
func TestHarmlessFaults(t *testing.T) {
	for _, op := range []string{"readdir", "remove"} {
		s := &script{}
		path := put(t, tokensPath(t), lineOne)
		leftover := put(t, filepath.Join(filepath.Dir(path), ".service_tokens-1.tmp"), "")
		old := time.Now().Add(-time.Hour)
		if err := os.Chtimes(leftover, old, old); err != nil {
			t.Fatal(err)
		}
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
		s.fail(op)
		if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil || s.count(op) == 0 {
			t.Errorf("%s: got %v", op, err)
		}
	}
}

// TestNotDurable: after the rename the change is in force and the caches are told,
// whatever fails; the error says so, and Create returns its token.
func TestNotDurable(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne)
	file, cache := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	works(t, cache, one)
	s.fail("syncfolder")
	created, err := file.Create(t.Context(), fleet.TokenID("new"))
	if !errors.Is(err, filesource.ErrNotDurable) || !errors.Is(err, errFault) {
		t.Errorf("Create: got %v", err)
	}
	if _, err := cache.AuthenticateToken(t.Context(), created); err != nil {
		t.Errorf("the created token: got %v", err)
	}
	if err := file.Delete(t.Context(), fleet.TokenID("one")); !errors.Is(err, filesource.ErrNotDurable) || !errors.Is(err, errFault) {
		t.Errorf("Delete: got %v", err)
	}
	if works(t, cache, one) || strings.Contains(read(t, path), one) {
		t.Error("the deleted token works")
	}
}

// TestBlindAfterRename: if the file cannot be read after it was replaced, the change is
// still in force.
func TestBlindAfterRename(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne)
	file, cache := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	works(t, cache, one)
	s.on("rename", func() error { s.fail("stat"); return nil })
	created, err := file.Create(t.Context(), fleet.TokenID("new"))
	if err != nil {
		t.Errorf("Create: got %v", err)
	}
	s.set(nil)
	if _, err := cache.AuthenticateToken(t.Context(), created); err != nil {
		t.Errorf("the created token: got %v", err)
	}
	s.on("rename", func() error { s.fail("stat"); return nil })
	if err := file.Delete(t.Context(), fleet.TokenID("one")); err != nil || works(t, cache, one) {
		t.Errorf("Delete: got %v", err)
	}
}

// TestChangedBeforeTheRename: whatever others do to the file while an edit writes, up to
// the check before the rename, the edit starts again, and nothing is lost.
func TestChangedBeforeTheRename(t *testing.T) {
	const extra = "x/y/z:" + hashA + "\n"
	for _, test := range []struct {
		name string
		act  func(t *testing.T, path string) error
		want string // after Delete of one; empty: an error
	}{
		{"append", func(t *testing.T, path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString(extra)
			return errors.Join(err, f.Close())
		}, lineTwo + extra},
		{"save in place", func(t *testing.T, path string) error { put(t, path, lineOne+extra); return nil }, extra},
		{"slow save in place", func(t *testing.T, path string) error {
			go save(t, path, 250*time.Millisecond, lineOne, lineTwo, extra)
			synctest.Wait()
			return nil
		}, lineTwo + extra},
		{"same size", func(t *testing.T, path string) error {
			put(t, path, lineOne+strings.Replace(lineTwo, "two", "six", 1))
			return nil
		}, strings.Replace(lineTwo, "two", "six", 1)},
		{"rename", func(t *testing.T, path string) error {
			put(t, path+".new", lineOne+extra)
			return os.Rename(path+".new", path)
		}, extra},
		{"rename of a copy", func(t *testing.T, path string) error {
			put(t, path+".new", lineOne+lineTwo)
			return os.Rename(path+".new", path)
		}, lineTwo},
		{"link", func(t *testing.T, path string) error {
			put(t, path+".new", lineOne+extra)
			return errors.Join(os.Remove(path), os.Symlink(path+".new", path))
		}, extra},
		{"touched", func(t *testing.T, path string) error { return os.Chtimes(path, time.Now(), time.Now()) }, lineTwo},
		{"mode", func(t *testing.T, path string) error { return os.Chmod(path, 0o640) }, lineTwo},
		{"gone", func(t *testing.T, path string) error { return os.Remove(path) }, ""},
		{"bad", func(t *testing.T, path string) error { put(t, path, lineOne+"bad\n"); return nil }, ""},
		{"pipe", func(t *testing.T, path string) error {
			return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
		}, ""},
	} {
		for _, op := range []string{"createtemp", "sync", "chtimes"} {
			t.Run(test.name+"/"+op, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &script{}
					path := put(t, tokensPath(t), lineOne+lineTwo)
					file, _ := openWith(t, path, filesource.Config{Poll: -1}, filesource.Faults{Before: s.Before})
					s.on(op, func() error { return test.act(t, path) })
					err := file.Delete(t.Context(), fleet.TokenID("one"))
					if (err == nil) != (test.want != "") {
						t.Fatalf("got %v", err)
					}
					for _, name := range folder(t, path) {
						if strings.HasSuffix(name, ".tmp") {
							t.Errorf("%s was left behind", name)
						}
					}
					if err != nil {
						if info, statErr := os.Lstat(path); statErr == nil && info.Mode().IsRegular() && read(t, path) != lineOne+"bad\n" {
							t.Errorf("after %v the file is %q", err, read(t, path))
						}
						return
					}
					if got := read(t, path); got != test.want {
						t.Errorf("the file is %q, want %q", got, test.want)
					}
					if has(file, one) {
						t.Error("the deleted token lives on")
					}
					if info, err := os.Stat(path); test.name == "mode" && (err != nil || info.Mode() != 0o640) {
						t.Errorf("mode %v, %v", info.Mode(), err)
					}
				})
			})
		}
	}
}

// TestSwappedAfterTheRename: ..data is swapped right after the edit has replaced the
// file behind it. The edit starts again with the new one.
func TestSwappedAfterTheRename(t *testing.T) {
	for _, again := range []string{lineOne + lineTwo, lineTwo} {
		for _, create := range []bool{true, false} {
			s := &script{}
			dir := t.TempDir()
			path := filepath.Join(dir, "service_tokens")
			put(t, filepath.Join(dir, "v1"), lineOne+lineTwo)
			put(t, filepath.Join(dir, "v2"), again)
			if err := os.Symlink("v1", path); err != nil {
				t.Fatal(err)
			}
			file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
			s.on("syncfolder", func() error {
				return errors.Join(os.Remove(path), os.Symlink("v2", path))
			})
			if create {
				if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil || !has(file, "elastic/fleet-server/new", two) || !strings.Contains(read(t, path), "/new:") {
					t.Errorf("Create: got %v, %v", err, file.List())
				}
				continue
			}
			if err := file.Delete(t.Context(), fleet.TokenID("one")); err != nil || has(file, one) || read(t, path) != lineTwo {
				t.Errorf("Delete: got %v, %v", err, file.List())
			}
		}
	}
}

// TestReadFaults: a file that cannot be read changes nothing, is reported, and is loaded
// when it can be read again.
func TestReadFaults(t *testing.T) {
	for _, op := range []string{"stat", "open", "read-fstat", "read-read"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{}
				s.fail(op)
				path := put(t, tokensPath(t), lineOne)
				if _, err := filesource.OpenWith(path, filesource.Config{}, filesource.Faults{Before: s.Before}); !errors.Is(err, errFault) {
					t.Errorf("Open: got %v", err)
				}
				s.set(nil)
				var told atomic.Int32
				file, cache := openWith(t, path, filesource.Config{OnReload: func(filesource.Status) { told.Add(1) }}, filesource.Faults{Before: s.Before})
				defer file.Close()
				works(t, cache, one)
				time.Sleep(1500 * time.Millisecond)
				s.fail(op)
				put(t, path, lineTwo)
				time.Sleep(5 * time.Second)
				if !works(t, cache, one) || !errors.Is(file.Status().Err, errFault) || told.Load() != 2 {
					t.Errorf("got %+v, told %d times", file.Status(), told.Load())
				}
				s.set(nil)
				time.Sleep(2 * time.Second)
				if works(t, cache, one) || !works(t, cache, two) || file.Status().Err != nil || told.Load() != 3 {
					t.Errorf("got %+v, told %d times", file.Status(), told.Load())
				}
			})
		})
	}
}

// TestChangedDuringTheRead: a loaded text is of one state of the file, whatever happens
// between the calls of a read.
func TestChangedDuringTheRead(t *testing.T) {
	for _, op := range []string{"open", "read-fstat", "read-read", "read-close", "resolve"} {
		for name, act := range map[string]func(path string) error{
			"in place": func(path string) error { return os.WriteFile(path, []byte(lineOne+lineTwo+"x/y/z:"+hashA+"\n"), 0o600) },
			"rename": func(path string) error {
				return errors.Join(os.WriteFile(path+".new", []byte(lineOne+lineTwo+"x/y/z:"+hashA+"\n"), 0o600), os.Rename(path+".new", path))
			},
			"pipe": func(path string) error {
				err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
				time.AfterFunc(100*time.Millisecond, func() {
					os.Remove(path)
					os.WriteFile(path, []byte(lineOne+lineTwo+"x/y/z:"+hashA+"\n"), 0o600)
				})
				return err
			},
			"gone for a while": func(path string) error {
				time.AfterFunc(100*time.Millisecond, func() { os.WriteFile(path, []byte(lineOne+lineTwo+"x/y/z:"+hashA+"\n"), 0o600) })
				return os.Remove(path)
			},
		} {
			t.Run(op+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &script{}
					path := put(t, tokensPath(t), lineOne)
					file, _ := openWith(t, path, filesource.Config{Poll: -1}, filesource.Faults{Before: s.Before})
					put(t, path, lineOne+lineTwo)
					s.on(op, func() error { return act(path) })
					if err := file.Reload(); err != nil {
						t.Error(err)
					}
					if got := len(file.List()); got != 3 || file.Status().Missing {
						t.Errorf("got %d tokens", got)
					}
				})
			})
		}
	}
}

// TestGroupIsKeptOrShutOut: if the file cannot be given to its old group, the new group
// does not get the old one's rights.
func TestGroupIsKeptOrShutOut(t *testing.T) {
	for _, test := range []struct {
		fails int // how many of the attempts to give it away
		want  fs.FileMode
	}{{0, 0o664}, {1, 0o664}, {2, 0o604}} {
		s := &script{}
		path := put(t, tokensPath(t), lineOne)
		if err := os.Chmod(path, 0o664); err != nil {
			t.Fatal(err)
		}
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
		attempts := 0
		s.set(func(op, _ string) error {
			if op != "chown" {
				return nil
			}
			if attempts++; attempts <= test.fails {
				return syscall.EPERM
			}
			return nil
		})
		if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != test.want {
			t.Errorf("%d failures: got mode %v, %v, want %v", test.fails, info.Mode(), err, test.want)
		}
	}
}

// TestMetadata: once a file has been watched for longer than a tick of the file system's
// clock, a look tells by its times whether to read it again. The times themselves do not
// matter, nor does the host's clock.
func TestMetadata(t *testing.T) {
	for _, test := range []struct {
		name  string
		stamp time.Duration // from now
		whole bool          // seconds, in which the file system counts
		reads int           // in ten seconds
	}{
		{"fresh", 0, false, 1},
		{"old", -time.Hour, false, 1},
		{"to come", time.Hour, false, 1},
		{"whole seconds", 0, true, 3},
		{"old, of whole seconds", -time.Hour, true, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, at := &script{}, time.Now().Add(test.stamp).Truncate(time.Second)
				if !test.whole {
					at = at.Add(123456789)
				}
				path := putAt(t, tokensPath(t), lineOne, at)
				file, _ := openWith(t, path, filesource.Config{Poll: time.Second}, filesource.Faults{Before: s.Before, Info: filesource.WrittenAt})
				s.count("")
				time.Sleep(10500 * time.Millisecond)
				if got := s.count("open"); got != test.reads && !(test.whole && got == test.reads+1) {
					t.Errorf("read %d times in 10 looks, want %d", got, test.reads)
				}
				time.Sleep(time.Minute) // a text may be changed without a trace in the times
				if got := s.count("open"); got != 1 {
					t.Errorf("read %d times in a minute, want once", got)
				}
				file.Close()
			})
		})
	}
}

func ctime(t testing.TB, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(info.Sys().(*syscall.Stat_t).Ctim.Unix())
}

// TestQuietFileIsWatched: any change of a file that has not changed for long is
// noticed, and so is its removal.
func TestQuietFileIsWatched(t *testing.T) {
	for _, test := range []struct {
		name string
		act  func(t *testing.T, path string)
	}{
		{"size", func(t *testing.T, path string) { put(t, path, lineTwo+"# more\n") }},
		{"same size", func(t *testing.T, path string) { put(t, path, strings.Replace(lineOne, "one", "two", 1)) }},
		{"only the change time", func(t *testing.T, path string) {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			put(t, path, strings.Replace(lineOne, "one", "two", 1))
			if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
				t.Fatal(err)
			}
		}},
		{"another file", func(t *testing.T, path string) { rename(t, path, two+":"+hashA) }},
		{"gone", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{}
				path := put(t, tokensPath(t), lineOne)
				file, _ := openWith(t, path, filesource.Config{}, filesource.Faults{Before: s.Before})
				time.Sleep(5 * time.Second)
				s.count("open")
				time.Sleep(5 * time.Second)
				if s.count("open") != 0 || !has(file, one) {
					t.Error("it was read again")
				}
				test.act(t, path)
				time.Sleep(1500 * time.Millisecond)
				if has(file, one) || has(file, two) == (test.name == "gone") {
					t.Errorf("got %v", file.List())
				}
				file.Close()
			})
		})
	}
}

// TestTouchedFileIsReadTwice: when it was touched and at the next look, and not at every
// look from then on.
func TestTouchedFileIsReadTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		path := put(t, tokensPath(t), lineOne)
		file, _ := openWith(t, path, filesource.Config{}, filesource.Faults{Before: s.Before})
		time.Sleep(5500 * time.Millisecond)
		s.count("")
		for range 3 {
			if err := os.Chtimes(path, time.Time{}, ctime(t, path).Add(-time.Hour)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			if n := s.count("open"); n != 2 {
				t.Errorf("read %d times", n)
			}
		}
		file.Close()
	})
}

// TestEditReadsOnce: an edit reads a file that has not changed for long once, and does not
// read it again right before the rename.
func TestEditReadsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		file, _ := openWith(t, put(t, tokensPath(t), lineOne), filesource.Config{Poll: -1}, filesource.Faults{Before: s.Before})
		time.Sleep(5 * time.Second)
		s.count("")
		if err := file.Delete(t.Context(), fleet.TokenID("one")); err != nil {
			t.Error(err)
		}
		if n := s.count("read-read"); n != 2 { // the line, and its end
			t.Errorf("%d reads, want 2", n)
		}
	})
}

// TestTimeToCome: a modification time in the future does not make each look read the
// file.
func TestTimeToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		path := put(t, tokensPath(t), lineOne)
		if err := os.Chtimes(path, time.Time{}, ctime(t, path).Add(24*time.Hour+time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		file, _ := openWith(t, path, filesource.Config{}, filesource.Faults{Before: s.Before})
		time.Sleep(5500 * time.Millisecond)
		s.count("")
		time.Sleep(5 * time.Second)
		if n := s.count("open"); n != 0 {
			t.Errorf("read %d times", n)
		}
		put(t, path, strings.Replace(lineOne, "one", "two", 1))
		time.Sleep(2 * time.Second)
		if has(file, one) || !has(file, two) {
			t.Errorf("got %v", file.List())
		}
		file.Close()
	})
}

// TestOldFileIsEditedAtOnce: a file that is old by the file system's own clock has
// rested, unless it is empty. Any other file is watched for Config.Rest, even one that
// was renamed into place.
func TestOldFileIsEditedAtOnce(t *testing.T) {
	const rest = 400 * time.Millisecond
	for _, test := range []struct {
		name    string
		content string
		age     bool // the modification time is before the change time
		since   time.Duration
		want    time.Duration
	}{
		{"old", lineOne, false, 4 * time.Second, 10 * time.Millisecond},
		{"old without tokens", "# comment\n", false, 4 * time.Second, 10 * time.Millisecond},
		{"old and empty", "", false, time.Hour, 5 * rest},
		{"fresh", lineOne, false, 2900 * time.Millisecond, rest},
		{"the clock is behind", lineOne, false, -time.Hour, rest},
		{"fresh and empty", "", false, time.Second, 5 * rest},
		{"fresh without a line end", strings.TrimSpace(lineOne), false, time.Second, 5 * rest},
		{"renamed", lineOne, true, time.Millisecond, rest},
		{"renamed and empty", "", true, time.Millisecond, 5 * rest},
		{"renamed and without tokens", "\n", true, time.Millisecond, 5 * rest},
		{"renamed and without a line end", strings.TrimSpace(lineOne), true, time.Millisecond, 5 * rest},
		{"missing", "-", false, 0, rest},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := tokensPath(t)
				changed := time.Now()
				if test.content != "-" {
					put(t, path, test.content)
					if test.age {
						age(t, path)
					}
					changed = ctime(t, path)
				}
				file, _ := openWith(t, path, filesource.Config{Poll: -1}, filesource.Faults{
					Stamped: filesource.StampedAt(changed.Add(test.since)),
				})
				start := time.Now()
				if test.content == "" || !strings.HasSuffix(test.content, "\n") && test.content != "-" {
					start = start.Add(-rest) // for which Open has watched it
				}
				for i := range 3 {
					if _, err := file.Create(t.Context(), fleet.TokenID(fmt.Sprint("new", i))); err != nil {
						t.Error(err)
					}
					if took := time.Since(start); took < test.want || took > test.want+50*time.Millisecond {
						t.Errorf("Create %d took %v, want %v", i, took, test.want)
					}
					test.want, start = 0, time.Now()
				}
			})
		})
	}
}

// TestEditByAnotherProcess: a File knows at once what another File has put in place, as
// another process would, even if no token is left.
func TestEditByAnotherProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne)
		server, cache := open(t, path, filesource.Config{Poll: 50 * time.Millisecond})
		tool, _ := open(t, path, filesource.Config{Poll: -1})
		if !works(t, cache, one) {
			t.Fatal("the token does not work")
		}
		if err := tool.Delete(t.Context(), fleet.TokenID("one")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2200 * time.Millisecond) // a text without tokens has to rest longest
		if works(t, cache, one) {
			t.Error("the last token lives on")
		}
		created, err := tool.Create(t.Context(), fleet.TokenID("new"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(150 * time.Millisecond)
		if _, err := cache.AuthenticateToken(t.Context(), created); err != nil {
			t.Error(err)
		}
		server.Close()
	})
}

// TestLockFile: something else in the lock file's place is not locked, and makes no edit
// hang.
func TestLockFile(t *testing.T) {
	for name, act := range map[string]func(path string) error{
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"link":   func(path string) error { return os.Symlink("elsewhere", path) },
	} {
		path := put(t, tokensPath(t), lineOne)
		if err := act(filepath.Join(filepath.Dir(path), ".service_tokens.lock")); err != nil {
			t.Fatal(err)
		}
		file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1})
		if _, err := file.Create(t.Context(), fleet.TokenID("new")); err == nil || !strings.Contains(err.Error(), ".service_tokens.lock") {
			t.Errorf("%s: got %v", name, err)
		}
		if slices.Contains(folder(t, path), "elsewhere") || read(t, path) != lineOne {
			t.Errorf("%s: something was written", name)
		}
	}
}

// TestRemovedLock: a writer that finds its lock removed does not hold it.
func TestRemovedLock(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	lock := filepath.Join(filepath.Dir(path), ".service_tokens.lock")
	unlock, err := filesource.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := filesource.TryLock(path); err == nil {
		t.Error("two hold the lock")
	}
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	unlock()
	again, err := filesource.TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	again()
	if diff := cmp.Diff([]string{".service_tokens.lock", "service_tokens"}, folder(t, path)); diff != "" {
		t.Errorf("the folder (-want +got):\n%s", diff)
	}
	// The lock is removed, or replaced, after a writer has opened it.
	for name, act := range map[string]func() error{
		"":         func() error { return nil },
		"removed":  func() error { return os.Remove(lock) },
		"replaced": func() error { return errors.Join(os.WriteFile(lock+"2", nil, 0o600), os.Rename(lock+"2", lock)) },
	} {
		opened, err := os.OpenFile(lock, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		if err := act(); err != nil {
			t.Fatal(err)
		}
		if err := filesource.LockOpened(opened, lock); (err == nil) != (name == "") {
			t.Errorf("%s: got %v", name, err)
		}
		opened.Close()
	}
}

// TestLockThatCannotBeTaken: it is an error, not a lock.
func TestLockThatCannotBeTaken(t *testing.T) {
	const pathOnly = 0x200000 // O_PATH: a descriptor that can be looked at, and not be locked
	path := put(t, tokensPath(t), "")
	file, err := os.OpenFile(path, pathOnly, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := filesource.LockOpened(file, path); !errors.Is(err, syscall.EBADF) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}

// TestAppendedAtTheLastMoment: a line that somebody appends between the last check
// and the rename, or while the folder is synced, survives.
func TestAppendedAtTheLastMoment(t *testing.T) {
	const extra = "x/y/z:" + hashA + "\n"
	s := &script{}
	path := put(t, tokensPath(t), "") // an empty file has no line end
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	s.on("rename", func() error { return appendTo(path, extra) })
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil || !has(file, "x/y/z", "elastic/fleet-server/new") {
		t.Errorf("an empty file: got %v, %v", err, file.List())
	}
	for _, op := range []string{"rename", "syncfolder"} {
		for _, create := range []bool{true, false} {
			s := &script{}
			path := put(t, tokensPath(t), lineOne+lineTwo)
			file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
			before, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer before.Close()
			s.on(op, func() error { _, err := before.WriteString(extra); return err })
			name := "elastic/fleet-server/new"
			if create {
				_, err = file.Create(t.Context(), fleet.TokenID("new"))
			} else {
				err = file.Delete(t.Context(), fleet.TokenID("one"))
			}
			if err != nil || !has(file, two, "x/y/z") || has(file, one) != create || has(file, name) != create {
				t.Errorf("%s, create=%v: got %v, %v", op, create, err, file.List())
			}
			if got := read(t, path); strings.Count(got, "\n") != len(file.List()) || !strings.Contains(got, extra) {
				t.Errorf("%s, create=%v: the file is\n%s", op, create, got)
			}
		}
	}
}

// TestNothingIsOpenAtTheRename: on a system that does not replace an open file.
func TestNothingIsOpenAtTheRename(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	open, renames := 0, 0
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Windows: true, Before: func(op, _ string) error {
		switch op { // what is written is closed: an edit closes it twice
		case "open":
			open++
		case "read-close":
			open--
		case "rename":
			if renames++; open > 0 {
				t.Errorf("%d files are open", open)
			}
		}
		return nil
	}})
	_, err := file.Create(t.Context(), fleet.TokenID("new"))
	if err := errors.Join(err, file.Delete(t.Context(), fleet.TokenID("one"))); err != nil || renames != 2 {
		t.Errorf("got %d renames, %v", renames, err)
	}
}

// TestOtherWritesAtTheLastMoment: they are lost, as always when a file is replaced, and
// break nothing.
func TestOtherWritesAtTheLastMoment(t *testing.T) {
	for name, act := range map[string]func(f *os.File) error{
		"half a line": func(f *os.File) error { _, err := f.WriteString("x/y/z"); return err },
		"a bad line":  func(f *os.File) error { _, err := f.WriteString("bad\n"); return err },
		"truncated":   func(f *os.File) error { return f.Truncate(0) },
		"another beginning": func(f *os.File) error {
			_, err := f.WriteString(lineTwo)
			return errors.Join(err, os.WriteFile(f.Name()+".x", nil, 0o600), f.Truncate(3), second(f.WriteString(lineOne+lineTwo+lineTwo)))
		},
	} {
		s := &script{}
		path := put(t, tokensPath(t), lineOne+lineTwo)
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
		before, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer before.Close()
		s.on("rename", func() error { return act(before) })
		if err := file.Delete(t.Context(), fleet.TokenID("one")); err != nil || read(t, path) != lineTwo || has(file, one) || !has(file, two) {
			t.Errorf("%s: got %v, %v", name, err, file.List())
		}
	}
}

// TestCreatedAtTheLastMoment: somebody makes the missing file between the last check
// and the rename. It is not replaced.
func TestCreatedAtTheLastMoment(t *testing.T) {
	s := &script{}
	path := tokensPath(t)
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	s.on("link", func() error { return os.WriteFile(path, []byte(lineOne), 0o600) })
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil || !has(file, one, "elastic/fleet-server/new") || !strings.Contains(read(t, path), lineOne) {
		t.Errorf("got %v, %v", err, file.List())
	}
	// Without hard links it is still created.
	path = tokensPath(t)
	file, _ = openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	s.fail("link")
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil || !has(file, "elastic/fleet-server/new") {
		t.Errorf("got %v, %v", err, file.List())
	}
	if diff := cmp.Diff([]string{".service_tokens.lock", "service_tokens"}, folder(t, path)); diff != "" {
		t.Errorf("the folder (-want +got):\n%s", diff)
	}
}

// TestOddFilesAreNotOpened: opening a device may have effects, and a file that is too
// large is refused before it is read.
func TestOddFilesAreNotOpened(t *testing.T) {
	for _, odd := range odd {
		dir, err := os.MkdirTemp("", "") // short: the path of a socket has 108 bytes at most
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		s := &script{}
		path := put(t, filepath.Join(dir, "service_tokens"), lineOne)
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
		if err := errors.Join(os.Remove(path), odd.make(path)); err != nil {
			t.Fatal(err)
		}
		s.count("")
		if err := file.Reload(); err == nil || s.count("open") > 0 {
			t.Errorf("%s: got %v, or it was opened", odd.name, err)
		}
	}
}

// TestPipeAfterTheLook: a pipe takes the file's place when the file has been looked at
// and is about to be opened. Somebody holds its other end, and writes nothing.
func TestPipeAfterTheLook(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne)
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	ends := make(chan *os.File, 1)
	s.on("open", func() error {
		err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
		end, err2 := os.OpenFile(path, os.O_RDWR, 0)
		ends <- end
		return errors.Join(err, err2)
	})
	done := make(chan error)
	go func() { done <- file.Reload() }()
	end := <-ends
	defer end.Close()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "a pipe") || !has(file, one) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		end.Close()
		t.Errorf("it was read, until %v", <-done)
	}
}

// TestRetriesEndWithTheContext: the file is changed before each rename. The edit tries
// again after a moment, until its context is done.
func TestRetriesEndWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		path := put(t, tokensPath(t), lineOne)
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
		changes := 0
		s.set(func(op, _ string) error {
			if op != "sync" {
				return nil
			}
			if changes++; changes > 10 {
				return errFault
			}
			return appendTo(path, "# more\n")
		})
		ctx, cancel := context.WithTimeout(t.Context(), 25*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := file.Delete(ctx, fleet.TokenID("one"))
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "is changed by others") || changes != 3 || took != 25*time.Millisecond {
			t.Errorf("got %v after %d changes and %v", err, changes, took)
		}
		// A context that is done by the time of the rename.
		ctx, cancel = context.WithCancel(t.Context())
		s.on("sync", func() error { cancel(); return nil })
		if err := file.Delete(ctx, fleet.TokenID("one")); !errors.Is(err, context.Canceled) || !has(file, one) || !strings.Contains(read(t, path), one) {
			t.Errorf("got %v", err)
		}
	})
}

// TestRenameWithinTheMargin: it counts as a write, since an editor that sets the mode of
// the file that it is writing leaves such times.
func TestRenameWithinTheMargin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne+lineTwo)
		file, _ := open(t, path, filesource.Config{Poll: -1})
		put(t, path+".new", lineTwo)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, time.Time{}, ctime(t, path).Add(-5*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if ctime(t, path).Sub(mtime(t, path)) > 20*time.Millisecond {
			t.Skip("the machine is too slow to tell")
		}
		start := time.Now()
		if err := file.Reload(); err != nil || time.Since(start) < 400*time.Millisecond {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func mtime(t testing.TB, path string) time.Time {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.ModTime()
}
