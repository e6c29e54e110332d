//go:build linux

package filesource_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

// These tests are about what others do at the worst moment, and about pauses of the
// process.

const extra = "x/y/z:" + hashA + "\n"

// TestEditTrustsNoOldText: while another program saves the file in place, the file may
// for a moment have exactly the text that this File knew before others added to it. An
// edit does not take that for the whole text.
func TestEditTrustsNoOldText(t *testing.T) {
	for _, poll := range []time.Duration{-1, 50 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			path := put(t, tokensPath(t), lineOne)
			file, _ := open(t, path, filesource.Config{Poll: poll})
			if poll < 0 {
				if _, err := file.Create(t.Context(), fleet.TokenID("a")); err != nil {
					t.Fatal(err)
				}
			} else {
				time.Sleep(time.Second) // it has rested
			}
			known := read(t, path)
			put(t, path, known+lineTwo)
			go save(t, path, 250*time.Millisecond, known, lineTwo)
			time.Sleep(350 * time.Millisecond)
			if read(t, path) != known {
				t.Fatal("the save is not at the moment that the test needs")
			}
			if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
				t.Error(err)
			}
			if got := read(t, path); !strings.Contains(got, lineOne+lineTwo) || !strings.Contains(got, "/new:") {
				t.Errorf("poll %v: the file is\n%s", poll, got)
			}
			file.Close()
			time.Sleep(time.Second)
		})
	}
}

// TestEditOfAFileThatIsAwayAgain: it was gone, and came back, and is renamed away for
// a moment. An edit does not make another in its place.
func TestEditOfAFileThatIsAwayAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne)
		file, _ := open(t, path, filesource.Config{Poll: -1})
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := file.Reload(); err != nil || has(file, one) {
			t.Fatalf("got %v, %v", file.List(), err)
		}
		put(t, path+"~", lineOne+lineTwo)
		time.AfterFunc(100*time.Millisecond, func() { os.Rename(path+"~", path) })
		if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
			t.Error(err)
		}
		if err := file.Reload(); err != nil || !has(file, one, two, "elastic/fleet-server/new") {
			t.Errorf("got %v, %v", file.List(), err)
		}
	})
}

// TestPauseOfTheProcess: the process is kept from running for some seconds, as it is on a
// machine that is busy or suspended, while another program saves the file. Its earlier
// look proves nothing about the file now, and the time that has passed proves neither
// rest nor unrest.
func TestPauseOfTheProcess(t *testing.T) {
	const pause = 5 * time.Second
	for _, where := range []string{"before a look", "after a look"} {
		for from := 260 * time.Millisecond; from < 500*time.Millisecond; from += 20 * time.Millisecond {
			synctest.Test(t, func(t *testing.T) {
				path := put(t, tokensPath(t), lineOne+lineTwo)
				began := time.Now()
				stopped := false
				stop := func(at string) {
					if at == where && !stopped && time.Since(began) > from {
						stopped = true
						time.Sleep(pause)
					}
				}
				file, _ := openWith(t, path, filesource.Config{Poll: -1}, filesource.Faults{
					Before: func(op, _ string) error {
						if op == "stat" {
							stop("before a look")
						}
						return nil
					},
					After: func(op, _ string) {
						if op == "stat" {
							stop("after a look")
						}
					},
				})
				go save(t, path, 250*time.Millisecond, lineOne, lineTwo)
				synctest.Wait()
				if err := file.Reload(); err != nil || !has(file, one, two) || !stopped {
					t.Errorf("paused at %v (%s: %v): got %v, %v", from, where, stopped, file.List(), err)
				}
			})
		}
	}
}

// TestPauseIsNoUnrest: a pause of the process does not count towards the time after
// which a restless file is taken without rest.
func TestPauseIsNoUnrest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne+lineTwo)
		began, stopped := time.Now(), false
		file, _ := openWith(t, path, filesource.Config{Poll: -1}, filesource.Faults{Before: func(op, _ string) error {
			if op == "stat" && !stopped && time.Since(began) > 50*time.Millisecond {
				stopped = true
				time.Sleep(5 * time.Second)
			}
			return nil
		}})
		put(t, path, lineOne+lineTwo[:10])
		time.AfterFunc(5*time.Second, func() { save(t, path, 250*time.Millisecond, lineOne, lineTwo) })
		if err := file.Reload(); err != nil || !has(file, one, two) || !stopped {
			t.Errorf("got %v, %v", file.List(), err)
		}
		time.Sleep(time.Second)
	})
}

// appendTo appends as >> does.
func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// TestAppendedAgainAndAgain: others append right before each rename of one edit.
func TestAppendedAgainAndAgain(t *testing.T) {
	for _, create := range []bool{true, false} {
		s := &script{}
		path := put(t, tokensPath(t), lineOne+lineTwo)
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
		names := []string{"x/y/1", "x/y/3", "x/y/2"}
		renames := 0
		s.set(func(op, _ string) error {
			if op != "rename" {
				return nil
			}
			if renames++; renames > len(names) {
				return nil
			}
			return appendTo(path, names[renames-1]+":"+hashA+"\n")
		})
		var err error
		if create {
			_, err = file.Create(t.Context(), fleet.TokenID("new"))
		} else {
			err = file.Delete(t.Context(), fleet.TokenID("one"))
		}
		if err != nil || renames != 4 || !has(file, append(names, two)...) || has(file, one) != create || has(file, "elastic/fleet-server/new") != create {
			t.Errorf("create=%v: got %v after %d renames, %v", create, err, renames, file.List())
		}
		if got := read(t, path); strings.Count(got, "\n") != len(file.List()) {
			t.Errorf("create=%v: the file is\n%s", create, got)
		}
	}
}

// TestAppendedForTheSameToken: somebody appends a line for the token that is being
// created or deleted. The line was there first.
func TestAppendedForTheSameToken(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne+lineTwo)
	file, cache := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	s.on("rename", func() error { return appendTo(path, "elastic/fleet-server/new:"+hashA+"\n"+extra) })
	tok, err := file.Create(t.Context(), fleet.TokenID("new"))
	if !errors.Is(err, tokencache.ErrExists) || tok.Secret().Len() > 0 {
		t.Errorf("Create: got a token of %d bytes, %v", tok.Secret().Len(), err)
	}
	if !works(t, cache, "elastic/fleet-server/new") || !works(t, cache, "x/y/z") {
		t.Errorf("the appended token does not work; the file is\n%s", read(t, path))
	}
	s.on("rename", func() error { return appendTo(path, strings.Replace(lineOne, hashA, hashB, 1)+"x/y/a:"+hashA+"\n") })
	if err := file.Delete(t.Context(), fleet.TokenID("one")); err != nil || has(file, one) || strings.Contains(read(t, path), one) || !has(file, two, "x/y/a") {
		t.Errorf("Delete: got %v, %v", err, file.List())
	}
}

// TestAppendedButNotDurable: what is appended survives a folder that cannot be synced.
func TestAppendedButNotDurable(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne)
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	appended := false
	s.set(func(op, _ string) error {
		if op == "rename" && !appended {
			appended = true
			return appendTo(path, extra)
		}
		if op == "syncfolder" {
			return errFault
		}
		return nil
	})
	tok, err := file.Create(t.Context(), fleet.TokenID("new"))
	if !errors.Is(err, filesource.ErrNotDurable) || tok.Secret().Len() == 0 || !has(file, one, "x/y/z", "elastic/fleet-server/new") {
		t.Errorf("got %v, %v", err, file.List())
	}
}

// TestAppendedAndTheContextEnds: what others appended is not lost as the edit's caller
// has gone.
func TestAppendedAndTheContextEnds(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne)
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	ctx, cancel := context.WithCancel(t.Context())
	s.on("rename", func() error { cancel(); return appendTo(path, extra) })
	tok, err := file.Create(ctx, fleet.TokenID("new"))
	if err != nil || tok.Secret().Len() == 0 || !has(file, one, "x/y/z", "elastic/fleet-server/new") || !strings.Contains(read(t, path), extra) {
		t.Errorf("got %v, %v", err, file.List())
	}
}

// TestAppendedAndLost: if the lines cannot be put in, the error says so.
func TestAppendedAndLost(t *testing.T) {
	for _, gone := range []bool{false, true} {
		s := &script{}
		path := put(t, tokensPath(t), lineOne)
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
		ctx, cancel := context.WithCancel(t.Context())
		renamed := false
		s.set(func(op, _ string) error {
			switch {
			case op == "rename":
				renamed = true
				if gone {
					cancel()
				}
				return appendTo(path, extra)
			case op == "createtemp" && renamed:
				return errFault
			}
			return nil
		})
		tok, err := file.Create(ctx, fleet.TokenID("new"))
		cancel()
		if err == nil || !strings.HasSuffix(err.Error(), fmt.Sprintf("; %d bytes that others appended to it meanwhile are lost", len(extra))) ||
			errors.Is(err, context.Canceled) != gone || errors.Is(err, errFault) == gone || tok.Secret().Len() == 0 {
			t.Errorf("gone %v: got a token of %d bytes, %v", gone, tok.Secret().Len(), err)
		}
	}
}

// TestReloadBesideAnEdit: a Reload finds, right after the rename of an edit, that
// somebody has replaced the file again. What that removed does not come back with the
// edit's own text.
func TestReloadBesideAnEdit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne+lineTwo)
		put(t, path+".new", lineTwo)
		var file *filesource.File
		raced := false
		file, _ = openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{After: func(op, _ string) {
			if op != "rename" || raced {
				return
			}
			raced = true
			if err := os.Rename(path+".new", path); err != nil {
				t.Error(err)
			}
			go file.Reload()
			time.Sleep(time.Second)
		}})
		var had []bool
		file.Subscribe(&told{see: func() bool { had = append(had, has(file, one)); return true }})
		if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		gone := false
		for i, has := range had {
			if gone = gone || !has; gone && has {
				t.Errorf("change %d brings the removed token back: %v", i, had)
			}
		}
		if !gone || !has(file, two, "elastic/fleet-server/new") {
			t.Errorf("got %v, %v", file.List(), had)
		}
	})
}

// TestWrittenToRightAfterTheRename: an appender has written half a line to the new file
// before the edit looks at it. The next edit does not build on that.
func TestWrittenToRightAfterTheRename(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, once := put(t, tokensPath(t), lineOne), false
		file, _ := openWith(t, path, filesource.Config{Poll: -1}, filesource.Faults{After: func(op, _ string) {
			if op == "rename" && !once {
				once = true
				if err := appendTo(path, extra[:20]); err != nil {
					t.Error(err)
				}
				time.AfterFunc(250*time.Millisecond, func() { appendTo(path, extra[20:]) })
			}
		}})
		for _, name := range []string{"a", "b"} {
			if _, err := file.Create(t.Context(), fleet.TokenID(name)); err != nil {
				t.Error(err)
			}
		}
		if !has(file, one, "x/y/z", "elastic/fleet-server/a", "elastic/fleet-server/b") || len(file.List()) != 4 {
			t.Errorf("got %v", file.List())
		}
	})
}

// TestSavedRightAfterTheRename: another program has begun to save the new file in place
// before the edit looks at it, and has so far written the text that the edit wrote. The
// next edit does not build on that.
func TestSavedRightAfterTheRename(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path, once := put(t, tokensPath(t), lineOne), false
		file, _ := openWith(t, path, filesource.Config{Poll: -1}, filesource.Faults{After: func(op, _ string) {
			if op == "rename" && !once {
				once = true
				go save(t, path, 200*time.Millisecond, read(t, path), extra)
				time.Sleep(300 * time.Millisecond)
			}
		}})
		for _, name := range []string{"a", "b"} {
			if _, err := file.Create(t.Context(), fleet.TokenID(name)); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Second) // the save has ended
		if err := file.Reload(); err != nil || !has(file, one, "x/y/z", "elastic/fleet-server/a", "elastic/fleet-server/b") {
			t.Errorf("got %v, %v", file.List(), err)
		}
	})
}

// TestCloseBesideAnEdit: the poller waits for an edit whose disk is slow, but Close does
// not.
func TestCloseBesideAnEdit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne)
		slow := false
		file, err := filesource.OpenWith(path, filesource.Config{Poll: time.Second, Rest: -1}, filesource.Faults{Before: func(op, _ string) error {
			if op == "rename" && !slow {
				slow = true
				if err := appendTo(path, lineTwo); err != nil {
					return err
				}
				time.Sleep(time.Minute)
			}
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		edited := make(chan error)
		go func() { edited <- file.Delete(t.Context(), fleet.TokenID("one")) }()
		time.Sleep(10 * time.Second)
		start := time.Now()
		file.Close()
		if took := time.Since(start); took != 0 {
			t.Errorf("Close took %v", took)
		}
		if err := <-edited; err != nil || strings.TrimSpace(read(t, path))+"\n" != lineTwo || file.Status().Tokens != 1 {
			t.Errorf("got %v, %+v; the file:\n%s", err, file.Status(), read(t, path))
		}
	})
}

// TestReplacedRightAfterTheRename: another file is in the place when the edit returns.
// The edit says so, and returns a token that it has created with the error.
func TestReplacedRightAfterTheRename(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne)
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	pipe := func() error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) }
	s.on("syncfolder", pipe)
	tok, err := file.Create(t.Context(), fleet.TokenID("new"))
	if err == nil || !strings.Contains(err.Error(), "a pipe") || tok.Secret().Len() == 0 {
		t.Errorf("Create: got a token of %d bytes, %v", tok.Secret().Len(), err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	put(t, path, lineOne)
	s.on("syncfolder", pipe)
	if err := file.Delete(t.Context(), fleet.TokenID("one")); err == nil || !strings.Contains(err.Error(), "a pipe") {
		t.Errorf("Delete: got %v", err)
	}
}

// TestRemovedRightAfterTheRename: the edit is made in the file that the path names then.
func TestRemovedRightAfterTheRename(t *testing.T) {
	s := &script{}
	path := put(t, tokensPath(t), lineOne)
	file, cache := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	s.on("syncfolder", func() error { return os.Remove(path) })
	tok, err := file.Create(t.Context(), fleet.TokenID("new"))
	if err != nil || !strings.Contains(read(t, path), "/new:") {
		t.Fatalf("got %v", err)
	}
	if _, err := cache.AuthenticateToken(t.Context(), tok); err != nil || has(file, one) {
		t.Errorf("got %v, %v", err, file.List())
	}
}

// TestCopiedRightAfterTheRename: somebody puts a copy of the edit's file, with one more
// token, in its place. The copy has the change already, so nothing is written again, and
// the new token is known.
func TestCopiedRightAfterTheRename(t *testing.T) {
	for _, create := range []bool{true, false} {
		s, renames := &script{}, 0
		path := put(t, tokensPath(t), lineOne)
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before, After: func(op, _ string) {
			if op == "rename" {
				renames++
			}
		}})
		var copied string
		s.on("syncfolder", func() error {
			copied = read(t, path) + lineTwo
			put(t, path+".copy", copied)
			return os.Rename(path+".copy", path)
		})
		var err error
		if create {
			_, err = file.Create(t.Context(), fleet.TokenID("new"))
		} else {
			err = file.Delete(t.Context(), fleet.TokenID("one"))
		}
		if err != nil || renames != 1 || read(t, path) != copied {
			t.Errorf("got %v after %d renames; the file:\n%s", err, renames, read(t, path))
		}
		if has(file, one) != create || has(file, "elastic/fleet-server/new") != create || !has(file, two) {
			t.Errorf("got %v", file.List())
		}
	}
}

// TestContextEndsAfterTheRename: the path names another file by then, and the context
// ends before the edit has been made in that too.
func TestContextEndsAfterTheRename(t *testing.T) {
	s := &script{}
	dir := t.TempDir()
	path := filepath.Join(dir, "service_tokens")
	put(t, filepath.Join(dir, "v1"), lineOne)
	put(t, filepath.Join(dir, "v2"), lineOne+lineTwo)
	if err := os.Symlink("v1", path); err != nil {
		t.Fatal(err)
	}
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.on("syncfolder", func() error {
		cancel()
		return errors.Join(os.Remove(path), os.Symlink("v2", path))
	})
	tok, err := file.Create(ctx, fleet.TokenID("new"))
	if !errors.Is(err, context.Canceled) || tok.Secret().Len() == 0 || !strings.Contains(read(t, filepath.Join(dir, "v1")), "/new:") {
		t.Errorf("got a token of %d bytes, %v", tok.Secret().Len(), err)
	}
	// If the context ends before the rename, there is no token and no change.
	s.on("createtemp", func() error { return os.Chmod(filepath.Join(dir, "v2"), 0o640) })
	ctx, cancel = context.WithCancel(t.Context())
	s.set(func(op, _ string) error {
		if op == "sync" {
			cancel()
			return os.Chmod(path, 0o640)
		}
		return nil
	})
	tok, err = file.Create(ctx, fleet.TokenID("new"))
	if !errors.Is(err, context.Canceled) || tok.Secret().Len() > 0 || read(t, path) != lineOne+lineTwo {
		t.Errorf("got a token of %d bytes, %v", tok.Secret().Len(), err)
	}
}

// TestEditAtEachMomentOfAReload: a token is created while a reload is under way, before
// or after each of its system calls. It is in force afterwards.
func TestEditAtEachMomentOfAReload(t *testing.T) {
	moment := 0
	for edited := true; edited; {
		moment++
		edited = false
		synctest.Test(t, func(t *testing.T) {
			path := put(t, tokensPath(t), lineOne)
			armed, calls := false, 0
			var file *filesource.File
			at := func(string, string) {
				if !armed {
					return
				}
				if calls++; calls == moment {
					armed, edited = false, true
					if _, err := file.Create(t.Context(), fleet.TokenID("new")); err != nil {
						t.Error(err)
					}
					armed = true
				}
			}
			file, _ = openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{
				Before: func(op, path string) error { at(op, path); return nil },
				After:  at, // of a stat, the last of which nothing follows
			})
			put(t, path, lineOne+lineTwo)
			armed = true
			err := file.Reload()
			armed = false
			if err != nil || !has(file, one, two) || has(file, "elastic/fleet-server/new") != edited {
				t.Errorf("at moment %d: got %v, %v", moment, file.List(), err)
			}
		})
	}
	if moment < 5 {
		t.Errorf("a reload has %d moments", moment-1)
	}
}

// TestGrowsWhileItIsRead: a file that is small when it is opened, and then grows without
// end, is not read to its end.
func TestGrowsWhileItIsRead(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	reads := 0
	_, err := filesource.OpenWith(path, filesource.Config{Poll: -1, Rest: -1, MaxBytes: 1000}, filesource.Faults{Before: func(op, _ string) error {
		if op == "read-read" {
			if reads++; reads > 10 {
				t.Fatal("it is read on and on")
			}
			put(t, path, lineOne+strings.Repeat("# more\n", reads*100_000))
		}
		return nil
	}})
	if err == nil || !strings.Contains(err.Error(), "has more than 1000 bytes (Config.MaxBytes)") {
		t.Errorf("got %v", err)
	}
}

// TestCreatedByAnotherMeanwhile: another file with a token of the same name takes the
// place of the one that Create has just put there. The secret that Create made is
// useless, and so it is not returned.
func TestCreatedByAnotherMeanwhile(t *testing.T) {
	path := put(t, tokensPath(t), lineOne)
	renamed := false
	file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{After: func(op, _ string) {
		if op == "rename" && !renamed {
			renamed = true
			put(t, path+"~", lineOne+"elastic/fleet-server/new:"+hashA+"\n")
			os.Rename(path+"~", path)
		}
	}})
	token, err := file.Create(t.Context(), fleet.TokenID("new"))
	if !errors.Is(err, tokencache.ErrExists) || token.ID().Name != "" {
		t.Errorf("got %v, %v", token, err)
	}
}
