//go:build linux

package filesource_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/filesource"
)

// These tests are about files that are older than any Config.Rest, and about times of
// another clock.

// cut gives a file the size that it has while the kernel truncates it, and leaves its
// times as they were.
func cut(t testing.TB, path string, size int64) {
	t.Helper()
	old := mtime(t, path)
	if err := errors.Join(os.Truncate(path, size), os.Chtimes(path, time.Time{}, old)); err != nil {
		t.Fatal(err)
	}
}

// TestSaveOfAnOldFile: a file that is an hour old is saved in place, and has its old
// times while it is being truncated. No look believes the text then, whatever its size,
// neither the poller's look nor a caller's.
func TestSaveOfAnOldFile(t *testing.T) {
	for _, size := range []int{0, 1, len(lineOne) - 1, len(lineOne), len(lineOne + lineTwo)} {
		for name, test := range map[string]struct {
			poll time.Duration
			look func(*testing.T, *filesource.File) error
			gone bool // the second token
		}{
			"poller": {50 * time.Millisecond, func(t *testing.T, file *filesource.File) error {
				for range 200 {
					time.Sleep(10 * time.Millisecond)
					if !has(file, one, two, "x/y/z") {
						t.Fatalf("got %v", file.List())
					}
				}
				return nil
			}, false},
			"Reload": {-1, func(_ *testing.T, file *filesource.File) error { return file.Reload() }, false},
			"Create": {-1, func(t *testing.T, file *filesource.File) error {
				_, err := file.Create(t.Context(), fleet.TokenID("new"))
				return err
			}, false},
			"Delete": {-1, func(t *testing.T, file *filesource.File) error {
				return file.Delete(t.Context(), fleet.TokenID("two"))
			}, true},
			"Rotate": {-1, func(t *testing.T, file *filesource.File) error {
				_, err := file.Rotate(t.Context(), fleet.TokenID("two"))
				return err
			}, false},
		} {
			t.Run(fmt.Sprint(name, " at ", size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					path := oldFile(t)
					file := openOld(t, path, test.poll)
					time.Sleep(time.Minute)
					saved := saveFrom(t, path, size)
					err := test.look(t, file)
					<-saved
					checkSaved(t, path, file, err)
					if has(file, two) == test.gone {
						t.Errorf("got %v", file.List())
					}
					file.Close()
				})
			})
		}
	}
}

// TestOpenDuringASaveOfAnOldFile: the file looks empty, and Open waits until it has
// rested.
func TestOpenDuringASaveOfAnOldFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := oldFile(t)
		time.Sleep(time.Minute)
		saved := saveFrom(t, path, 0)
		file := openOld(t, path, -1)
		<-saved
		checkSaved(t, path, file, nil)
		if !has(file, two) {
			t.Errorf("got %v", file.List())
		}
	})
}

const oldText = lineOne + lineTwo + "x/y/z:" + hashA + "\n"

// oldFile returns the path of a file with oldText that is an hour old.
func oldFile(t *testing.T) (path string) {
	t.Helper()
	path = put(t, tokensPath(t), oldText)
	if err := os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour).Add(123456789)); err != nil {
		t.Fatal(err)
	}
	return path
}

// openOld opens a file whose change time is its modification time, as if it had last been
// written then.
func openOld(t *testing.T, path string, poll time.Duration) *filesource.File {
	t.Helper()
	file, _ := openWith(t, path, filesource.Config{Poll: poll}, filesource.Faults{Info: filesource.WrittenAt, Stamped: filesource.StampedAt(time.Now())})
	return file
}

// saveFrom begins to save oldText in place: the file is cut at once, and whole again
// before it counts as rested, when saved is closed.
func saveFrom(t *testing.T, path string, size int) (saved <-chan struct{}) {
	cut(t, path, int64(size))
	done := make(chan struct{})
	time.AfterFunc(150*time.Millisecond, func() { put(t, path, oldText); close(done) })
	return done
}

// checkSaved checks that the tokens that no edit has touched are all there.
func checkSaved(t *testing.T, path string, file *filesource.File, err error) {
	t.Helper()
	text := read(t, path)
	if err != nil || !has(file, one, "x/y/z") || !strings.Contains(text, lineOne) || !strings.Contains(text, "x/y/z:") {
		t.Errorf("got %v, %v, the file is\n%s", err, file.List(), text)
	}
}

// TestClockOfTheFileSystem: the file system's clock is behind the host's, or far ahead. A
// follower reads no clock; an edit reads the file system's alone.
func TestClockOfTheFileSystem(t *testing.T) {
	for _, off := range []time.Duration{-24 * time.Hour, -10 * time.Second, 0, time.Hour} {
		for _, edit := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				stamped := time.Now().Add(off)
				path := putAt(t, tokensPath(t), lineOne+lineTwo, stamped)
				file, _ := openWith(t, path, filesource.Config{Poll: -1}, filesource.Faults{Info: filesource.WrittenAt, Stamped: filesource.StampedAt(stamped.Add(2 * time.Second))})
				time.Sleep(time.Second)
				putAt(t, path, lineOne, stamped.Add(time.Second))
				time.AfterFunc(300*time.Millisecond, func() { putAt(t, path, lineOne+lineTwo, stamped.Add(1300*time.Millisecond)) })
				var err error
				if edit {
					_, err = file.Create(t.Context(), fleet.TokenID("new"))
				} else {
					err = file.Reload()
				}
				if err != nil || !has(file, one, two) {
					t.Errorf("%v off, edit %v: got %v, %v", off, edit, err, file.List())
				}
			})
		}
	}
}

// touched makes the folder of a file look as if a neighbour was made in the tick of the
// file system's clock in which the file was last changed, which looks like a rename.
func touched(t *testing.T, path string) func(fs.FileInfo) fs.FileInfo {
	return func(folder fs.FileInfo) fs.FileInfo {
		info, err := os.Stat(path)
		if err != nil {
			return folder
		}
		return filesource.StampedAt(time.Unix(info.Sys().(*syscall.Stat_t).Ctim.Unix()))(folder)
	}
}

// TestHintsOfARename: provisioning scripts make a file, and set its mode and owner before
// they write its lines. That looks like a rename if a neighbour is made within one tick.
// It drops no token if fewer than half are written by then; an edit does not take the
// hint at all.
func TestHintsOfARename(t *testing.T) {
	const whole = lineOne + lineTwo + "x/y/z:" + hashA + "\n"
	for _, begun := range []string{"", "# header\n", lineOne, lineOne + lineTwo[:9], lineOne + lineTwo} {
		for _, neighbour := range []bool{false, true} {
			for _, who := range []string{"poller", "Reload", "Create"} {
				if begun == lineOne+lineTwo && neighbour && who != "Create" {
					continue // so far a hint goes
				}
				t.Run(fmt.Sprint(len(begun), neighbour, who), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						path := put(t, tokensPath(t), whole)
						poll := 50 * time.Millisecond
						if who == "Create" {
							poll = -1
						}
						faults := filesource.Faults{}
						if neighbour {
							faults.Folder = touched(t, path)
						}
						file, _ := openWith(t, path, filesource.Config{Poll: poll}, faults)
						time.Sleep(time.Second)
						if err := os.Rename(path, path+".bak"); err != nil {
							t.Fatal(err)
						}
						put(t, path, begun)
						age(t, path) // some time passes before the mode is set
						if err := os.Chmod(path, 0o640); err != nil {
							t.Fatal(err)
						}
						time.AfterFunc(250*time.Millisecond, func() { appendTo(path, strings.TrimPrefix(whole, begun)) })
						var err error
						switch who {
						case "Reload":
							err = file.Reload()
						case "Create":
							_, err = file.Create(t.Context(), fleet.TokenID("new"))
						}
						for range 100 {
							if !has(file, one, two, "x/y/z") || err != nil {
								t.Fatalf("got %v, %v", file.List(), err)
							}
							time.Sleep(10 * time.Millisecond)
						}
						if text := read(t, path); !strings.Contains(text, whole[len(lineOne):]) {
							t.Errorf("the file is\n%s", text)
						}
						file.Close()
					})
				})
			}
		}
	}
}

// TestRenameIsTakenAtOnce: if at most half of the tokens go with it. A file that was just
// created is not taken at once, whatever goes.
func TestRenameIsTakenAtOnce(t *testing.T) {
	four := []string{"x/y/1", "x/y/2", "x/y/3", "x/y/4"}
	for keep, want := range []time.Duration{2 * time.Second, 400 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond} {
		for _, created := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				text := func(names []string) (text string) {
					for _, name := range names {
						text += name + ":" + hashA + "\n"
					}
					return text
				}
				path := put(t, tokensPath(t), text(four))
				file, _ := openWith(t, path, filesource.Config{Poll: -1}, filesource.Faults{Folder: touched(t, path)})
				want := want
				if created {
					if err := os.Rename(path, path+".bak"); err != nil { // not Remove: the next file could get its number
						t.Fatal(err)
					}
					put(t, path, text(four[:keep]))
					if keep > 0 && keep < len(four) {
						want = 400 * time.Millisecond
					}
				} else {
					age(t, put(t, path+".new", text(four[:keep])))
					if err := os.Rename(path+".new", path); err != nil {
						t.Fatal(err)
					}
				}
				began := time.Now()
				if err := file.Reload(); err != nil || len(file.List()) != keep || time.Since(began) != want {
					t.Errorf("%d of 4 stay, created %v: got %v, %v after %v, want %v", keep, created, err, file.List(), time.Since(began), want)
				}
			})
		}
	}
}

// TestRestlessFileWithoutTokens: a file that never rests is not taken for one without
// tokens.
func TestRestlessFileWithoutTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne)
		file, _ := open(t, path, filesource.Config{Poll: -1})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 700 {
				put(t, path, fmt.Sprintf("# %d\n", i))
				time.Sleep(15 * time.Millisecond)
			}
		}()
		if err := file.Reload(); err == nil || !has(file, one) {
			t.Errorf("got %v, %v", err, file.List())
		}
		<-done
	})
}

// TestUnlinkedFile: a mount of a single file still shows the old file after that was
// replaced in its own folder. That is an error, which counts for FailClosed, and says
// what to do.
func TestUnlinkedFile(t *testing.T) {
	for _, closed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			path := put(t, tokensPath(t), lineOne)
			var gone atomic.Bool
			file, _ := openWith(t, path, filesource.Config{FailClosed: closed}, filesource.Faults{Info: func(info fs.FileInfo) fs.FileInfo {
				if gone.Load() {
					return filesource.Unlinked(info)
				}
				return info
			}})
			gone.Store(true)
			time.Sleep(2 * time.Second)
			_, err := file.Lookup(t.Context(), fleet.TokenID("one"))
			if st := file.Status(); st.Err == nil || !strings.Contains(st.Err.Error(), path+" was replaced") || !strings.Contains(st.Err.Error(), "mount its folder") || (err != nil) != closed || !has(file, one) {
				t.Errorf("FailClosed %v: got %+v, %v", closed, st, err)
			}
			if _, err := file.Create(t.Context(), fleet.TokenID("new")); err == nil || !strings.Contains(err.Error(), "mount its folder") {
				t.Errorf("Create: got %v", err)
			}
			file.Close()
		})
	}
}

// TestMountedFile: the same with a real mount.
func TestMountedFile(t *testing.T) {
	host := put(t, tokensPath(t), lineOne+lineTwo)
	path := put(t, tokensPath(t), "")
	if err := syscall.Mount(host, path, "", syscall.MS_BIND, ""); err != nil {
		t.Skip("mounts are for the superuser: ", err)
	}
	defer syscall.Unmount(path, syscall.MNT_DETACH)
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: time.Millisecond})
	if !has(file, one) {
		t.Fatalf("got %v", file.List())
	}
	if _, err := file.Create(t.Context(), fleet.TokenID("new")); !errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), "mount its folder") {
		t.Errorf("Create: got %v", err)
	}
	if names := folder(t, path); len(names) != 1 {
		t.Errorf("it left %v", names)
	}
	put(t, host+".new", lineTwo)
	if err := os.Rename(host+".new", host); err != nil {
		t.Fatal(err)
	}
	if err := file.Reload(); err == nil || !strings.Contains(err.Error(), "mount its folder") {
		t.Errorf("Reload: got %v", err)
	}
}

// TestChangeWithoutATrace: a memory map may change a text and none of the file's times. It is
// read again in a minute, and by Reload at once.
func TestChangeWithoutATrace(t *testing.T) {
	for _, reload := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			at := time.Now().Add(-time.Hour).Add(123456789)
			path := putAt(t, tokensPath(t), lineOne, at)
			file, _ := openWith(t, path, filesource.Config{}, filesource.Faults{Info: filesource.WrittenAt})
			time.Sleep(10 * time.Second)
			putAt(t, path, lineTwo, at)
			if reload {
				if err := file.Reload(); err != nil {
					t.Error(err)
				}
			} else {
				time.Sleep(62 * time.Second)
			}
			if has(file, one) || !has(file, two) {
				t.Errorf("Reload %v: got %v", reload, file.List())
			}
			file.Close()
		})
	}
}

// TestSlowWriter: a writer adds a line every 300 ms, for longer than ten times
// Config.Rest. Neither the poller nor a reload drops a token meanwhile.
func TestSlowWriter(t *testing.T) {
	for _, poll := range []time.Duration{-1, 50 * time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var lines []string
			for i := range 20 {
				lines = append(lines, fmt.Sprintf("x/y/%d:%s\n", i, hashA))
			}
			path := put(t, tokensPath(t), strings.Join(lines, ""))
			file, _ := open(t, path, filesource.Config{Poll: poll})
			go save(t, path, 300*time.Millisecond, lines...)
			for i := range 800 {
				time.Sleep(10 * time.Millisecond)
				if poll < 0 {
					if err := file.Reload(); err != nil {
						t.Error(err)
					}
				}
				if got := len(file.List()); got != 20 {
					t.Fatalf("poll %v: after %d looks: %d tokens", poll, i, got)
				}
			}
			file.Close()
		})
	}
}

// TestFileThatOnlyGrows: it keeps a removed token alive for at most twenty times
// Config.Rest.
func TestFileThatOnlyGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne+lineTwo)
		file, _ := open(t, path, filesource.Config{Poll: 50 * time.Millisecond})
		put(t, path, lineTwo)
		began := time.Now()
		time.Sleep(2500 * time.Microsecond) // so that no line comes while the follower reads: it would begin anew
		for has(file, one) && time.Since(began) < 20*time.Second {
			appendTo(path, "# more\n")
			time.Sleep(15 * time.Millisecond)
		}
		if took := time.Since(began); took < 8*time.Second || took > 8500*time.Millisecond || !has(file, two) {
			t.Errorf("taken after %v: %+v", took, file.Status())
		}
		file.Close()
	})
}

// TestWithoutRest: with a negative Config.Rest, nothing waits, not even for a second look:
// neither a reload, whatever has changed, nor an edit of a file of any age.
func TestWithoutRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne+lineTwo)
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{
			Stamped: filesource.StampedAt(time.Now().AddDate(100, 0, 0)), // so that the file is old
		})
		for _, change := range []func(){
			func() { put(t, path, lineOne+lineTwo+"x/y/z:"+hashA+"\n") }, // all tokens are still there
			func() { rename(t, path, one+":"+hashA, two+":"+hashA) },
			func() { put(t, path, lineTwo) },
			func() {},
		} {
			change()
			began := time.Now()
			if err := file.Reload(); err != nil || time.Since(began) != 0 || strings.Count(read(t, path), "\n") != len(file.List()) {
				t.Errorf("Reload: got %v, %v after %v", err, file.List(), time.Since(began))
			}
		}
		rename(t, path, one+":"+hashA)
		began := time.Now()
		if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil || time.Since(began) != 0 {
			t.Errorf("Create: got %v after %v", err, time.Since(began))
		}
	})
}
