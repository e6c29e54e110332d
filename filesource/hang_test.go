//go:build linux

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

// A gate makes calls of the file system hang while it is shut.
type gate struct {
	op   string // which; empty: all
	shut atomic.Pointer[chan struct{}]
}

func (g *gate) Before(op, _ string) error {
	if shut := g.shut.Load(); shut != nil && (g.op == "" || g.op == op) {
		<-*shut
	}
	return nil
}

func (g *gate) close() { g.shut.Store(new(make(chan struct{}))) }

func (g *gate) open() { close(*g.shut.Swap(nil)) }

// TestHangingFileSystem: while the file system does not answer, the status says so, and
// since when nobody has looked; FailClosed accepts no token; Reload and Open return; and
// Close does. Everything is as it was when the file system answers again.
func TestHangingFileSystem(t *testing.T) {
	for _, op := range []string{"", "stat", "open", "read-read", "resolve"} {
		for _, closed := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				g, told := &gate{op: op}, 0
				path := put(t, tokensPath(t), lineOne)
				file, cache := openWith(t, path, filesource.Config{FailClosed: closed, OnReload: func(st filesource.Status) {
					if st.Err != nil {
						told++
					}
				}}, filesource.Faults{Before: g.Before})
				time.Sleep(3500 * time.Millisecond)
				looked := file.Status().Looked
				if since := time.Since(looked); since > time.Second {
					t.Errorf("%s: the last look was %v ago", op, since)
				}
				g.close()
				hung := time.Now()
				put(t, path, lineOne+lineTwo)
				time.Sleep(time.Minute)
				st := file.Status()
				if st.Err == nil || time.Since(st.Failing) < 50*time.Second || st.Looked.Sub(hung) > time.Second || told != 1 {
					t.Errorf("%s: got %+v, reported %d times", op, st, told)
				}
				if _, err := file.Lookup(t.Context(), fleet.TokenID("one")); (err != nil) != closed {
					t.Errorf("%s: FailClosed %v: got %v", op, closed, err)
				}
				began := time.Now()
				if err := file.Reload(); err == nil || time.Since(began) > 20*time.Second {
					t.Errorf("%s: Reload: got %v after %v", op, err, time.Since(began))
				}
				g.open()
				time.Sleep(5 * time.Second)
				if st := file.Status(); st.Err != nil || !st.Failing.IsZero() || time.Since(st.Looked) > 2*time.Second || !works(t, cache, two) {
					t.Errorf("%s: afterwards: got %+v", op, st)
				}
				g.close()
				put(t, path, lineTwo)
				time.Sleep(1500 * time.Millisecond) // the poller hangs
				began, changed := time.Now(), file.Status().Changed
				file.Close()
				if took := time.Since(began); took > time.Second {
					t.Errorf("%s: Close took %v", op, took)
				}
				g.open()
				time.Sleep(time.Minute)
				if !file.Status().Changed.Equal(changed) {
					t.Errorf("%s: a change was made after Close", op)
				}
			})
		}
	}
}

// TestOpenOnAHangingFileSystem: Open returns.
func TestOpenOnAHangingFileSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		g.close()
		began := time.Now()
		file, err := filesource.OpenWith(put(t, tokensPath(t), lineOne), filesource.Config{}, filesource.Faults{Before: g.Before})
		if file != nil || err == nil || time.Since(began) > 10*time.Second {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		g.open()
	})
}

// TestEditOnAHangingFileSystem: an edit ends with its context, and says whether its
// change may be in force. If it has not begun to rename by then, it never does.
func TestEditOnAHangingFileSystem(t *testing.T) {
	for op, maybe := range map[string]bool{
		"resolve": false, "stat": false, "open": false, "read-read": false, "lock": false, "createtemp": false, "write": false,
		"sync": false, "attributes": false, "chtimes": false, "rename": true, "syncfolder": true,
	} {
		for name, edit := range map[string]func(context.Context, *filesource.File) (secret bool, err error){
			"Create": func(ctx context.Context, f *filesource.File) (bool, error) {
				token, err := f.Create(ctx, fleet.TokenID("new"))
				return token.Secret().Len() > 0, err
			},
			"Rotate": func(ctx context.Context, f *filesource.File) (bool, error) {
				token, err := f.Rotate(ctx, fleet.TokenID("one"))
				return token.Secret().Len() > 0, err
			},
		} {
			synctest.Test(t, func(t *testing.T) {
				g := &gate{op: op}
				path := put(t, tokensPath(t), lineOne)
				file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: g.Before})
				g.close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				secret, err := edit(ctx, file)
				if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 2*time.Second || secret != maybe {
					t.Errorf("%s, %s hangs: got %v after %v, and a secret: %v", name, op, err, took, secret)
				}
				if strings.Contains(err.Error(), "may be in force or not") != maybe {
					t.Errorf("%s, %s hangs: got %v", name, op, err)
				}
				g.open()
				time.Sleep(time.Minute)
				if (read(t, path) != lineOne) != maybe {
					t.Errorf("%s, %s hangs: it was changed afterwards:\n%s", name, op, read(t, path))
				}
				if err := file.Reload(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestEditAbandonedAtItsLastCheck: the file system hangs right before the rename. An edit
// whose context ends meanwhile, or whose File is closed, does not rename afterwards, and
// leaves no temporary file and no lock.
func TestEditAbandonedAtItsLastCheck(t *testing.T) {
	for _, op := range []string{"resolve", "stat"} {
		for want, end := range map[error]func(cancel func(), file *filesource.File){
			context.Canceled:     func(cancel func(), _ *filesource.File) { cancel() },
			tokencache.ErrClosed: func(_ func(), file *filesource.File) { file.Close() },
		} {
			synctest.Test(t, func(t *testing.T) {
				g := &gate{op: op}
				path := put(t, tokensPath(t), lineOne)
				file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: func(called, path string) error {
					if called == "chtimes" { // the temporary file is complete
						g.close()
					}
					return g.Before(called, path)
				}})
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, func() { end(cancel, file) })
				token, err := file.Create(ctx, fleet.TokenID("new"))
				if !errors.Is(err, want) || strings.Contains(err.Error(), "may be in force or not") || token.Secret().Len() > 0 {
					t.Errorf("%s hangs: got a token of %d bytes, %v, want %v", op, token.Secret().Len(), err, want)
				}
				g.open()
				synctest.Wait()
				if names := folder(t, path); read(t, path) != lineOne || len(names) != 1 {
					t.Errorf("%s hangs, %v: the folder has %v, the file is\n%s", op, want, names, read(t, path))
				}
			})
		}
	}
}

// TestEndInOrder: a call that ends within half a second of its context's end has its own
// outcome: a slow disk does not hang.
func TestEndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		path := put(t, tokensPath(t), lineOne)
		file, _ := openWith(t, path, filesource.Config{Poll: -1, Rest: -1}, filesource.Faults{Before: s.Before})
		ctx, cancel := context.WithCancel(t.Context())
		s.on("syncfolder", func() error {
			cancel()
			time.Sleep(400 * time.Millisecond)
			return nil
		})
		if _, err := file.Create(ctx, fleet.TokenID("new")); err != nil || !has(file, one, "elastic/fleet-server/new") {
			t.Errorf("got %v, %v", err, file.List())
		}
	})
}
