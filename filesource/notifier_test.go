package filesource_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/tokencache"
)

// observe opens a file with a cache whose observer is called once, at the first change.
func observe(t *testing.T, path string, once func(context.Context, *filesource.File)) *filesource.File {
	t.Helper()
	file, err := filesource.Open(path, filesource.Config{Poll: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(file.Close)
	told := false
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(ctx context.Context, ev tokencache.Event) {
		if ev.Kind == tokencache.EventEviction && ev.Cause == tokencache.CauseSource && !told {
			told = true
			once(ctx, file)
		}
	}})
	cache, err := tokencache.New(group, "file", file, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cache.Close)
	return file
}

// changes has the ways to make the caches hear of a change.
var changes = map[string]func(t *testing.T, path string, file *filesource.File){
	"poller": func(t *testing.T, path string, _ *filesource.File) {
		put(t, path, lineOne+lineTwo)
		time.Sleep(time.Minute)
	},
	"Reload": func(t *testing.T, path string, file *filesource.File) {
		put(t, path, lineOne+lineTwo)
		if err := file.Reload(); err != nil {
			t.Error(err)
		}
	},
	"Create": func(t *testing.T, _ string, file *filesource.File) {
		if _, err := file.Create(t.Context(), fleet.TokenID("two")); err != nil {
			t.Error(err)
		}
	},
}

// TestCallsFromAnObserver: while the caches are being told of a change, calls that change
// the file fail, at once if they have the notification's context. All other calls work,
// nothing hangs, and everything works afterwards.
func TestCallsFromAnObserver(t *testing.T) {
	for by, change := range changes {
		t.Run(by, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := put(t, tokensPath(t), lineOne)
				var told context.Context
				file := observe(t, path, func(ctx context.Context, file *filesource.File) {
					told = ctx
					create := func(ctx context.Context) error {
						_, err := file.Create(ctx, fleet.TokenID("new"))
						return err
					}
					for name, err := range map[string]error{
						"Create": create(ctx), "Delete": file.Delete(ctx, fleet.TokenID("token1")),
						"Create, another context": create(context.Background()), "Reload": file.Reload(),
					} {
						if err == nil || !strings.HasSuffix(err.Error(), ": the caches are being told of a change; make another one afterwards") {
							t.Errorf("%s: got %v", name, err)
						}
					}
					if got := len(file.List()); got != 2 {
						t.Errorf("%d tokens are listed, want 2: the change is in force", got)
					}
					file.Status()
				})
				began := time.Now()
				change(t, path, file)
				if told == nil {
					t.Fatal("the observer was not called")
				}
				if took := time.Since(began); by != "poller" && (took < 20*time.Second || took > 21*time.Second) {
					t.Errorf("it took %v, want two waits of ten seconds", took)
				}
				if _, err := file.Create(told, fleet.TokenID("later")); err != nil {
					t.Error(err)
				}
				if err := file.Reload(); err != nil || file.Status().Tokens != 3 {
					t.Errorf("got %v, %d tokens", err, file.Status().Tokens)
				}
			})
		})
	}
}

// TestCloseFromAnObserver: Close returns, whichever goroutine tells the caches, and the
// poller ends (or the bubble would not).
func TestCloseFromAnObserver(t *testing.T) {
	for by, change := range changes {
		t.Run(by, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path, closed := put(t, tokensPath(t), lineOne), false
				file := observe(t, path, func(_ context.Context, file *filesource.File) {
					file.Close()
					closed = true
				})
				change(t, path, file)
				synctest.Wait()
				if !closed {
					t.Error("the observer was not called")
				}
				put(t, path, lineOne)
				time.Sleep(time.Minute)
				if got := file.Status().Tokens; got != 2 {
					t.Errorf("%d tokens, want 2: the poller does not look any more", got)
				}
			})
		})
	}
}

// TestCloseWaitsAfterANotification: once the caches have been told, Close waits for the
// poller again.
func TestCloseWaitsAfterANotification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne)
		var slow, looked atomic.Bool
		file, _ := openWith(t, path, filesource.Config{Poll: time.Second}, filesource.Faults{Before: func(op, _ string) error {
			if op == "stat" && slow.CompareAndSwap(true, false) {
				time.Sleep(800 * time.Millisecond)
				looked.Store(true)
			}
			return nil
		}})
		changes["poller"](t, path, file)
		if got := file.Status().Tokens; got != 2 {
			t.Fatalf("%d tokens, want 2", got)
		}
		slow.Store(true)
		time.Sleep(1500 * time.Millisecond) // the poller looks, at one second
		file.Close()
		if !looked.Load() {
			t.Error("Close did not wait")
		}
	})
}

// TestReloadDuringANotification: a reload from elsewhere waits until the caches have been
// told, and succeeds; an edit waits until its context is done.
func TestReloadDuringANotification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := put(t, tokensPath(t), lineOne)
		var over atomic.Bool
		file := observe(t, path, func(context.Context, *filesource.File) {
			time.Sleep(5 * time.Second)
			over.Store(true)
		})
		go func() { changes["Reload"](t, path, file) }()
		time.Sleep(2 * time.Second) // it is telling
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := file.Delete(ctx, fleet.TokenID("one")); !errors.Is(err, context.DeadlineExceeded) || over.Load() {
			t.Errorf("an edit of a second: got %v; the caches were told: %t", err, over.Load())
		}
		if err := file.Reload(); err != nil || !over.Load() {
			t.Errorf("got %v; the caches were told: %t", err, over.Load())
		}
		if err := file.Delete(t.Context(), fleet.TokenID("one")); err != nil {
			t.Error(err)
		}
	})
}
