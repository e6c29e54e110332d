package filesource_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

// rename replaces the file as deployment tools do, by one that was written a while
// before.
func rename(t testing.TB, path string, lines ...string) {
	t.Helper()
	age(t, write(t, path+".new", lines...))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// age puts a file's modification time back by a second.
func age(t testing.TB, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, info.ModTime().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
}

const (
	one = "elastic/fleet-server/one"
	two = "elastic/fleet-server/two"
)

// TestChangesAreNoticed makes every kind of change, each of which removes token
// one and leaves token two. The bubble's clock is not the files', so the test is
// about what is noticed and what follows.
func TestChangesAreNoticed(t *testing.T) {
	lineOne, lineTwo := one+":"+hashA, two+":"+hashA
	for _, test := range []struct {
		name   string
		change func(t *testing.T, path string)
	}{
		{"in place", func(t *testing.T, path string) { write(t, path, lineTwo) }},
		{"atomic rename", func(t *testing.T, path string) { rename(t, path, lineTwo) }},
		{"same size", func(t *testing.T, path string) {
			write(t, path, "#"+lineOne[1:], lineTwo)
		}},
		{"same size and modification time", func(t *testing.T, path string) {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, "#"+lineOne[1:], lineTwo)
			if err := os.Chtimes(path, time.Time{}, info.ModTime()); err != nil {
				t.Fatal(err)
			}
		}},
		{"delete and create again", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Second)
			write(t, path, lineTwo)
		}},
		{"hash replaced", func(t *testing.T, path string) {
			write(t, path, one+":{SSHA256}AAECAwQFBgc="+strings.Repeat("A", 43)+"=", lineTwo)
		}},
		{"plaintext instead", func(t *testing.T, path string) { write(t, path, one+":supersecret", lineTwo) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := write(t, tokensPath(t), lineOne, lineTwo)
				_, cache := open(t, path, filesource.Config{})
				if !works(t, cache, one) || !works(t, cache, two) {
					t.Fatal("the tokens do not work")
				}
				test.change(t, path)
				time.Sleep(1500 * time.Millisecond)
				if works(t, cache, one) {
					t.Error("the removed token still works")
				}
				if !works(t, cache, two) {
					t.Error("the other token does not work")
				}
			})
		})
	}
}

// TestSymlinkSwap does what Kubernetes does with a mounted secret: the file is a
// link to ..data/service_tokens, and ..data, a link too, is swapped.
func TestSymlinkSwap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		publish := func(version string, lines ...string) {
			t.Helper()
			if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, version, "service_tokens"), lines...)
			if err := os.Symlink(version, filepath.Join(dir, "..tmp")); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
				t.Fatal(err)
			}
		}
		publish("..v1", one+":"+hashA)
		path := filepath.Join(dir, "service_tokens")
		if err := os.Symlink(filepath.Join("..data", "service_tokens"), path); err != nil {
			t.Fatal(err)
		}
		_, cache := open(t, path, filesource.Config{})
		for i, next := range []string{two, one, two} {
			publish(fmt.Sprintf("..v%d", i+2), next+":"+hashA)
			time.Sleep(2 * time.Second)
			if got := [2]bool{works(t, cache, one), works(t, cache, two)}; got != [2]bool{next == one, next == two} {
				t.Errorf("swap %d: got %v", i, got)
			}
		}
	})
}

func TestMissingFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := tokensPath(t)
		file, cache := open(t, path, filesource.Config{})
		if works(t, cache, one) || file.Status().Err != nil {
			t.Errorf("got %+v", file.Status())
		}
		write(t, path, one+":"+hashA)
		time.Sleep(2 * time.Second)
		if !works(t, cache, one) {
			t.Error("the file that appeared was not loaded")
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if works(t, cache, one) || file.Status().Err != nil || file.Status().Tokens != 0 {
			t.Errorf("after deletion: got %+v", file.Status())
		}
	})
}

// TestWhatClears counts what a change clears.
func TestWhatClears(t *testing.T) {
	lineOne, lineTwo := one+":"+hashA, two+":"+hashA
	for _, test := range []struct {
		name         string
		lines        []string
		clears, only int // entries that go, and those with OnlyChanged
	}{
		{"nothing", []string{lineOne, lineTwo}, 0, 0},
		{"order", []string{lineTwo, lineOne}, 0, 0},
		{"comments and blanks", []string{"# comment", "", lineOne, lineTwo + "  ", "#"}, 0, 0},
		{"line ends", []string{lineOne + "\r", lineTwo + "\r"}, 0, 0},
		{"a warning", []string{lineOne, lineTwo, "x/y/z:plain"}, 0, 0},
		{"one gone", []string{lineTwo}, 2, 1},
		{"one changed", []string{one + ":" + hashB, lineTwo}, 2, 1},
		{"one more", []string{lineOne, lineTwo, "x/y/z:" + hashA}, 2, 0},
		{"all gone", nil, 2, 2},
	} {
		for _, only := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/only=%v", test.name, only), func(t *testing.T) {
				path := write(t, tokensPath(t), lineOne, lineTwo)
				file, cache := open(t, path, filesource.Config{Poll: -1, Rest: -1, OnlyChanged: only})
				works(t, cache, one)
				works(t, cache, two)
				rename(t, path, test.lines...)
				if err := file.Reload(); err != nil {
					t.Fatal(err)
				}
				want := test.clears
				if only {
					want = test.only
				}
				if got := cache.Stats(); got.Evicted != uint64(want) || got.Entries != 2-want {
					t.Errorf("got %+v, want %d evicted", got, want)
				}
			})
		}
	}
}

func TestTouchClearsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := write(t, tokensPath(t), one+":"+hashA)
		file, cache := open(t, path, filesource.Config{})
		works(t, cache, one)
		changed := file.Status().Changed
		for i := range 3 {
			stamp := time.Now().Add(time.Duration(i) * time.Hour)
			if err := os.Chtimes(path, stamp, stamp); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
		}
		if got := cache.Stats(); got.Entries != 1 || got.Evicted != 0 || !file.Status().Changed.Equal(changed) {
			t.Errorf("got %+v, %+v", got, file.Status())
		}
	})
}

// TestBadReload: a file that turns bad leaves the last good tokens, or none if the host
// has chosen that, and the host is told once.
func TestBadReload(t *testing.T) {
	for _, closed := range []bool{false, true} {
		t.Run(fmt.Sprintf("FailClosed=%v", closed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := write(t, tokensPath(t), one+":"+hashA)
				var told []filesource.Status
				var log strings.Builder
				file, cache := open(t, path, filesource.Config{
					FailClosed: closed,
					OnReload:   func(st filesource.Status) { told = append(told, st) },
					Logger:     slog.New(slog.NewTextHandler(&log, nil)),
				})
				works(t, cache, one)
				write(t, path, one+":"+hashA, "bad line "+hashB)
				time.Sleep(10 * time.Second)
				_, err := cache.AuthenticateToken(t.Context(), token(t, one, "supersecret"))
				if _, ok := errors.AsType[*filesource.FormatError](err); ok != closed || (err == nil) == closed || errors.Is(err, tokencache.ErrRefused) {
					t.Errorf("with a bad file: got %v", err)
				}
				if _, ok := errors.AsType[*filesource.FormatError](file.Status().Err); !ok {
					t.Errorf("got status %+v, want a FormatError", file.Status())
				}
				if err := file.Reload(); err == nil {
					t.Error("Reload of a bad file returned nil")
				}
				write(t, path, one+":"+hashA)
				time.Sleep(10 * time.Second)
				if !works(t, cache, one) || file.Status().Err != nil {
					t.Errorf("after the repair: got %+v", file.Status())
				}
				file.Close() // and its poller's writes to told and log are done
				var got []bool
				for _, st := range told {
					got = append(got, st.Err != nil)
				}
				if diff := cmp.Diff([]bool{false, true, false}, got); diff != "" {
					t.Errorf("failures told (-want +got):\n%s", diff)
				}
				if strings.Contains(log.String(), "SSHA256") || !strings.Contains(log.String(), "there is no colon") {
					t.Errorf("the log is wrong:\n%s", log.String())
				}
			})
		})
	}
}

// TestHalfWritten writes the file in place in two halves, with a pause in which a
// reader would see the first half alone.
func TestHalfWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := write(t, tokensPath(t), two+":"+hashA)
		_, cache := open(t, path, filesource.Config{Poll: 50 * time.Millisecond})
		works(t, cache, two)
		for range 20 {
			f, err := os.Create(path) // empty now
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range []string{"# comment\n", one + ":" + hashA + "\n", two + ":", hashA, "\n"} {
				time.Sleep(3 * time.Millisecond)
				if !works(t, cache, two) {
					t.Fatal("a file in the middle of a write was loaded")
				}
				if _, err := f.WriteString(part); err != nil {
					t.Fatal(err)
				}
			}
			f.Close()
			time.Sleep(200 * time.Millisecond)
			if !works(t, cache, one) || !works(t, cache, two) {
				t.Fatal("the file was not loaded")
			}
		}
	})
}

// TestRemovalWithin200ms: with a poll of 50 ms, a removal is in force that soon if the
// file is replaced as a whole, and later if it is written in place.
func TestRemovalWithin200ms(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(t testing.TB, path string, lines ...string)
		within time.Duration
	}{
		{"rename", rename, 200 * time.Millisecond},
		{"in place", func(t testing.TB, path string, lines ...string) { write(t, path, lines...) }, 500 * time.Millisecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := write(t, tokensPath(t), one+":"+hashA, two+":"+hashA)
				_, cache := open(t, path, filesource.Config{Poll: 50 * time.Millisecond, OnlyChanged: true})
				for range 50 {
					write(t, path, one+":"+hashA, two+":"+hashA)
					time.Sleep(200 * time.Millisecond) // nothing is missing: no patience
					if !works(t, cache, one) || !works(t, cache, two) {
						t.Fatal("the tokens do not work")
					}
					time.Sleep(7 * time.Millisecond)
					test.change(t, path, two+":"+hashA)
					time.Sleep(test.within)
					if works(t, cache, one) || !works(t, cache, two) {
						t.Fatal("the removed token still works, or the other does not")
					}
				}
				if got := cache.Stats().Loads; got > 200 {
					t.Errorf("got %d loads: token two did not stay cached", got)
				}
			})
		})
	}
}

// TestReloadForgetsLoadsInFlight: the new tokens are in place before the cache is
// cleared, and a load in between is neither stored nor joined.
func TestReloadForgetsLoadsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := write(t, tokensPath(t), one+":"+hashA)
		file, err := filesource.Open(path, filesource.Config{Poll: -1})
		if err != nil {
			t.Fatal(err)
		}
		group := tokencache.NewGroup(tokencache.GroupConfig{})
		defer group.Close()
		slow := slowSource{file, make(chan struct{})}
		cache, err := tokencache.New(group, "file", slow, tokencache.Config{})
		if err != nil {
			t.Fatal(err)
		}
		old := make(chan error)
		go func() {
			_, err := cache.AuthenticateToken(t.Context(), token(t, one, "supersecret"))
			old <- err
		}()
		synctest.Wait() // it has read the old file
		rename(t, path, two+":"+hashA)
		if err := file.Reload(); err != nil {
			t.Fatal(err)
		}
		close(slow.gate)
		if err := <-old; err != nil {
			t.Errorf("the request from before the change got %v", err)
		}
		if works(t, cache, one) {
			t.Error("the old verdict was stored")
		}
	})
}

// A slowSource delays the answers of a File.
type slowSource struct {
	*filesource.File
	gate chan struct{}
}

func (s slowSource) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[filesource.Record], error) {
	a, err := s.File.Lookup(ctx, id)
	<-s.gate
	return a, err
}

func TestUnreadableFileKeepsTokens(t *testing.T) {
	path := write(t, tokensPath(t), one+":"+hashA)
	file, cache := open(t, path, filesource.Config{Poll: -1, Rest: -1})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil { // it can be seen, but not be read
		t.Fatal(err)
	}
	if err := file.Reload(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error with the path", err)
	}
	if !works(t, cache, one) || file.Status().Err == nil || file.Status().Tokens != 1 {
		t.Errorf("got %+v, want the last good tokens and the error", file.Status())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := file.Reload(); err != nil || works(t, cache, one) {
		t.Errorf("the deleted file: got %v", err)
	}
}

func TestCloseTwiceAndWithoutPoller(t *testing.T) {
	for _, poll := range []time.Duration{-1, time.Hour} {
		file, _ := open(t, tokensPath(t), filesource.Config{Poll: poll})
		file.Close()
		file.Close()
	}
}

// TestCloseWaits: until the poller has ended, whatever else is reported meanwhile.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := write(t, tokensPath(t), one+":"+hashA)
		var poller, ended atomic.Bool
		told := func(filesource.Status) { time.Sleep(500 * time.Millisecond) }
		file, err := filesource.OpenWith(path, filesource.Config{Poll: time.Second, Rest: -1, OnReload: told}, filesource.Faults{
			Before: func(op, _ string) error {
				if op == "stat" && poller.CompareAndSwap(true, false) {
					time.Sleep(900 * time.Millisecond)
					ended.Store(true)
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		poller.Store(true)
		created := make(chan error)
		time.AfterFunc(1200*time.Millisecond, func() { // until the host has been told, at 1.7 seconds
			_, err := file.Create(t.Context(), fleet.TokenID("new"))
			created <- err
		})
		time.Sleep(1500 * time.Millisecond) // it is in the middle of a look
		file.Close()
		if !ended.Load() {
			t.Error("Close did not wait")
		}
		if err := <-created; err != nil {
			t.Error(err)
		}
	})
}

// TestLog: the lines that an operator reads.
func TestLog(t *testing.T) {
	var log strings.Builder
	plain := slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	path := write(t, tokensPath(t), one+":"+hashA)
	file, _ := open(t, path, filesource.Config{Poll: -1, Rest: -1, Logger: slog.New(plain)})
	for _, change := range []func(){
		func() { write(t, path, one+":"+hashA, two+":plain") },
		func() { write(t, path, "bad") },
		func() { write(t, path, strings.Repeat("x/y/z:plain\n", 21)+two+":"+hashA) },
		func() { os.Remove(path) },
	} {
		change()
		file.Reload()
		log.WriteString("\n")
	}
	skipped := ` skipped: the hash is not a password hash of a known form"` + "\n"
	var want strings.Builder
	want.WriteString(`level=INFO msg="service tokens file loaded" path=PATH tokens=1` + "\n" +
		`level=INFO msg="service tokens file loaded" path=PATH tokens=1` + "\n" +
		`level=WARN msg="service tokens file" path=PATH line="2: elastic/fleet-server/two:` + skipped + "\n" +
		`level=ERROR msg="service tokens file not loaded" path=PATH tokens=1 error="filesource: PATH has 1 bad lines, so none of it is used\nPATH:1: a line of 3 bytes: must be a qualified name, a colon and a hash; there is no colon"` + "\n" +
		`level=WARN msg="service tokens file" path=PATH line="2: elastic/fleet-server/two:` + skipped + "\n" +
		`level=INFO msg="service tokens file loaded" path=PATH tokens=1` + "\n")
	for i := range 20 {
		want.WriteString(fmt.Sprintf(`level=WARN msg="service tokens file" path=PATH line="%d: x/y/z:`, i+1) + skipped)
	}
	want.WriteString(`level=WARN msg="service tokens file has more such lines" path=PATH more=1` + "\n\n" +
		`level=WARN msg="service tokens file is gone" path=PATH tokens=0` + "\n\n")
	if diff := cmp.Diff(want.String(), strings.ReplaceAll(log.String(), path, "PATH")); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// TestTokensAreInPlaceBeforeCachesAreTold: in the other order, a load in between reads
// the old tokens, and is stored after the clearing.
func TestTokensAreInPlaceBeforeCachesAreTold(t *testing.T) {
	t.Parallel() // it waits for most of the time
	for _, only := range []bool{false, true} {
		path := write(t, tokensPath(t), one+":"+hashA)
		file, err := filesource.Open(path, filesource.Config{Poll: -1, OnlyChanged: only})
		if err != nil {
			t.Fatal(err)
		}
		told := &told{see: func() bool { return file.MayHold(fleet.TokenID("two")) && !file.MayHold(fleet.TokenID("one")) }}
		cancel := file.Subscribe(told)
		rename(t, path, two+":"+hashA)
		if err := file.Reload(); err != nil {
			t.Fatal(err)
		}
		if !told.saw || told.calls != 1 {
			t.Errorf("OnlyChanged %v: told %d times, saw the new tokens: %v", only, told.calls, told.saw)
		}
		cancel()
		rename(t, path, one+":"+hashA)
		if err := file.Reload(); err != nil || told.calls != 1 {
			t.Errorf("told %d times after the subscription's end, %v", told.calls, err)
		}
	}
}

// A told records what a cache sees when it is told.
type told struct {
	see   func() bool
	saw   bool
	calls int
}

func (c *told) Clear(context.Context, tokencache.Cause) int {
	c.calls++
	c.saw = c.see()
	return 0
}

func (c *told) Evict(ctx context.Context, why tokencache.Cause, _ ...tokencache.Selector) int {
	return c.Clear(ctx, why)
}
