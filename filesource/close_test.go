//go:build linux

package filesource_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

// asked has calls of a File's methods, by name. Each returns the method's error.
var asked = map[string]func(ctx context.Context, file *filesource.File) error{
	"Lookup": func(ctx context.Context, file *filesource.File) error {
		return second(file.Lookup(ctx, fleet.TokenID("one")))
	},
	"Reload": func(_ context.Context, file *filesource.File) error { return file.Reload() },
	"Create": func(ctx context.Context, file *filesource.File) error {
		return second(file.Create(ctx, fleet.TokenID("new")))
	},
	"Rotate": func(ctx context.Context, file *filesource.File) error {
		return second(file.Rotate(ctx, fleet.TokenID("one")))
	},
	"Delete": func(ctx context.Context, file *filesource.File) error {
		return file.Delete(ctx, fleet.TokenID("one"))
	},
}

// TestAfterClose: every call of a closed File returns an error that wraps ErrClosed, and
// changes nothing. Its caches have forgotten its tokens, since nobody would tell them of
// changes. Its status can still be read.
func TestAfterClose(t *testing.T) {
	for _, cfg := range []filesource.Config{{}, {Poll: -1}, {FailClosed: true, OnlyChanged: true}} {
		synctest.Test(t, func(t *testing.T) {
			told := 0
			cfg.OnReload = func(filesource.Status) { told++ }
			path := put(t, tokensPath(t), lineOne)
			file, cache := open(t, path, cfg)
			sub := &selected{}
			file.Subscribe(sub)
			if !works(t, cache, one) {
				t.Fatal("the token does not work")
			}
			file.Close()
			file.Close()
			if _, err := cache.AuthenticateToken(t.Context(), token(t, one, "supersecret")); !errors.Is(err, tokencache.ErrClosed) || errors.Is(err, tokencache.ErrRefused) {
				t.Errorf("a token that was remembered: got %v", err)
			}
			if diff := cmp.Diff([]string{"*"}, sub.sels); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			put(t, path, lineOne+lineTwo)
			for name, ask := range asked {
				err := ask(t.Context(), file)
				if !errors.Is(err, tokencache.ErrClosed) || !strings.HasPrefix(err.Error(), "filesource: "+path+": ") {
					t.Errorf("%s: got %v", name, err)
				}
			}
			if ids := file.List(); ids != nil || !file.MayHold(fleet.TokenID("none")) {
				t.Errorf("got %v", ids)
			}
			time.Sleep(time.Minute)
			if st := file.Status(); st.Tokens != 1 || st.Err != nil || told != 1 || file.Path() != path || read(t, path) != lineOne+lineTwo {
				t.Errorf("got %+v, told %d times; the file:\n%s", st, told, read(t, path))
			}
		})
	}
}

// TestCloseEnds: a reload, and an edit that has not begun to replace the file, end at
// once, even while they wait for the lock or for a file system that does not answer. They
// have changed nothing.
func TestCloseEnds(t *testing.T) {
	for name, wait := range map[string]func(t *testing.T, path string, g *gate){
		"rest": func(t *testing.T, path string, _ *gate) { // it never does
			for i := range 30 {
				time.AfterFunc(time.Duration(i)*100*time.Millisecond, func() { put(t, path, fmt.Sprintf("# %d\n", i)+lineTwo) })
			}
		},
		"lock": func(t *testing.T, path string, _ *gate) {
			unlock, err := filesource.TryLock(path)
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(3*time.Second, unlock)
		},
		"file system": func(_ *testing.T, _ string, g *gate) {
			g.close()
			time.AfterFunc(3*time.Second, g.open)
		},
	} {
		for _, call := range []string{"Reload", "Create", "Rotate", "Delete"} {
			if name == "lock" && call == "Reload" {
				continue
			}
			t.Run(name+"/"+call, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := &gate{}
					path := put(t, tokensPath(t), lineOne)
					file, _ := openWith(t, path, filesource.Config{Poll: -1}, filesource.Faults{Before: g.Before})
					wait(t, path, g)
					time.Sleep(50 * time.Millisecond)
					ended := make(chan error)
					go func() { ended <- asked[call](t.Context(), file) }()
					time.Sleep(250 * time.Millisecond)
					began := time.Now()
					file.Close()
					if took := time.Since(began); took > 0 {
						t.Errorf("Close took %v", took)
					}
					if err := <-ended; !errors.Is(err, tokencache.ErrClosed) || time.Since(began) > 500*time.Millisecond {
						t.Errorf("got %v after %v", err, time.Since(began))
					}
					time.Sleep(time.Minute)
					if text := read(t, path); strings.Count(text, ":") != 1 || !strings.HasSuffix(text, hashA+"\n") {
						t.Errorf("the file was changed:\n%s", text)
					}
				})
			})
		}
	}
}

// TestCloseLetsAnEditEnd: an edit that has begun to replace the file is in force, and
// says so. If the file system does not answer, its own context ends it, not Close.
func TestCloseLetsAnEditEnd(t *testing.T) {
	for _, op := range []string{"rename", "syncfolder"} {
		synctest.Test(t, func(t *testing.T) {
			g := &gate{op: op}
			path := put(t, tokensPath(t), lineOne)
			file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: g.Before})
			g.close()
			ended := make(chan error)
			go func() { ended <- asked["Create"](t.Context(), file) }()
			synctest.Wait()
			file.Close()
			time.AfterFunc(time.Minute, g.open)
			if err := <-ended; err != nil || !strings.Contains(read(t, path), "/new:") {
				t.Errorf("%s: got %v; the file:\n%s", op, err, read(t, path))
			}
			if _, err := file.Lookup(t.Context(), fleet.TokenID("new")); !errors.Is(err, tokencache.ErrClosed) {
				t.Errorf("%s: got %v", op, err)
			}
		})
	}
}

// TestCallersOwnContext: a caller that has given up gets its context's error, not that of
// a closed File.
func TestCallersOwnContext(t *testing.T) {
	file, _ := open(t, put(t, tokensPath(t), lineOne), filesource.Config{Poll: -1})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := asked["Create"](ctx, file); !errors.Is(err, context.Canceled) || errors.Is(err, tokencache.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// TestCloseOfManyAtOnce: many goroutines call everything at once. Each call ends, without
// an error or with one that says why.
func TestCloseOfManyAtOnce(t *testing.T) {
	for i := range 6 {
		synctest.Test(t, func(t *testing.T) {
			path := put(t, tokensPath(t), lineOne+lineTwo)
			file, _ := open(t, path, filesource.Config{Poll: time.Millisecond, Rest: 5 * time.Millisecond, FastHash: true})
			for name, ask := range asked {
				go func() {
					for range 200 {
						err := ask(t.Context(), file)
						if errors.Is(err, tokencache.ErrClosed) {
							return
						}
						if err != nil && !errors.Is(err, tokencache.ErrExists) && !errors.Is(err, tokencache.ErrNotFound) {
							t.Errorf("%s: got %v", name, err)
						}
						time.Sleep(time.Millisecond)
					}
					t.Errorf("%s does not say that the File is closed", name)
				}()
			}
			for range 3 {
				go func() {
					time.Sleep(time.Duration(i) * 2 * time.Millisecond)
					file.Close()
				}()
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		})
	}
}
