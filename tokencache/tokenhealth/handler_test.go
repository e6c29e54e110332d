package tokenhealth_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/tokencache/tokenhealth"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

func expect(t *testing.T, health *tokenhealth.Handler, when string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, health.Reasons()); diff != "" {
		t.Errorf("%s: reasons (-want +got):\n%s", when, diff)
	}
}

// TestPaths: only a path that ends in live is about life.
func TestPaths(t *testing.T) {
	health := tokenhealth.New(tokenhealth.Check{Name: "a", Ready: func(context.Context) error { return errors.New("down") }})
	for path, want := range map[string]int{"/_health": 503, "/_health/": 503, "/_health/ready": 503, "/_health/live": 200, "/_health/live/": 200, "/live": 200, "/_health/alive": 503} {
		for _, method := range []string{"GET", "HEAD"} {
			w := httptest.NewRecorder()
			health.ServeHTTP(w, httptest.NewRequest(method, path, nil))
			if w.Code != want || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s %s: got %d %v", method, path, w.Code, w.Header())
			}
		}
	}
	w := httptest.NewRecorder()
	if health.ServeHTTP(w, httptest.NewRequest("POST", "/_health", nil)); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
}

// TestSource: a source that errs cannot be asked; what the error says is nobody's business.
func TestSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var source tokentest.Source[string]
		health := tokenhealth.New(tokenhealth.Source("index", &source))
		expect(t, health, "in order")
		source.SetError(errors.New("no route to 10.0.0.1"))
		expect(t, health, "within the second for which an answer is remembered")
		time.Sleep(time.Second)
		expect(t, health, "down", "index: it cannot be asked")
		source.SetError(nil)
		time.Sleep(time.Second)
		expect(t, health, "in order again")
	})
}

// TestFileFailedClosed: a file that accepts no token takes the process away; one that
// keeps the last good tokens does not.
func TestFileFailedClosed(t *testing.T) {
	for _, closed := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "service_tokens")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := filesource.Open(path, filesource.Config{Poll: -1, Rest: -1, FailClosed: closed})
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := os.WriteFile(path, []byte("bad\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		file.Reload()
		var want []string
		if closed {
			want = []string{"file: it cannot be asked"}
		}
		expect(t, tokenhealth.New(tokenhealth.Source("file", file)), "bad", want...)
	}
}

// TestFleet: a node that has not joined, and one whose lease has run out, say so.
func TestFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var status fleet.Status
		health := tokenhealth.New(tokenhealth.Fleet("fleet", statusFunc(func() fleet.Status { return status })))
		expect(t, health, "at first", "fleet: nothing is loaded yet: this node has not joined its fleet")
		status = fleet.Status{Serving: true, Until: time.Now().Add(5 * time.Second)}
		time.Sleep(time.Second)
		expect(t, health, "joined")
		time.Sleep(4 * time.Second)
		expect(t, health, "at the lease's end", "fleet: the lease of this node has run out")
		status.Serving = false
		time.Sleep(time.Second)
		expect(t, health, "stopped", "fleet: the lease of this node has run out")
	})
}

type statusFunc func() fleet.Status

func (f statusFunc) Status() fleet.Status { return f() }

// TestHang: a check that hangs, whatever its context says, holds one goroutine and delays
// each answer by a second at most; one that panics is out of order.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		release := make(chan struct{})
		health := tokenhealth.New(
			tokenhealth.Check{Name: "hangs", Ready: func(context.Context) error { calls.Add(1); <-release; return nil }},
			tokenhealth.Check{Name: "panics", Ready: func(context.Context) error { panic("secret") }},
			tokenhealth.Check{Name: "heeds", Ready: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		)
		var asking sync.WaitGroup
		began := time.Now()
		for range 100 {
			asking.Go(func() {
				if got := strings.Join(health.Reasons(), "; "); !strings.HasPrefix(got, "hangs: it has not answered within a second; panics: it cannot be asked; heeds: ") {
					t.Errorf("got %s", got)
				}
			})
		}
		asking.Wait()
		if took := time.Since(began); took > time.Second || calls.Load() != 1 {
			t.Errorf("took %v, with %d calls", took, calls.Load())
		}
		close(release)
		synctest.Wait()
		expect(t, health, "released", "panics: it cannot be asked", "heeds: context deadline exceeded")
	})
}

// TestShutDown: it is final, and asks nobody.
func TestShutDown(t *testing.T) {
	health := tokenhealth.New(tokenhealth.Check{Name: "a", Ready: func(context.Context) error { t.Error("asked"); return nil }})
	health.ShutDown()
	expect(t, health, "shut down", "shutting down")
	w := httptest.NewRecorder()
	if health.ServeHTTP(w, httptest.NewRequest("GET", "/_health/live", nil)); w.Code != 200 {
		t.Errorf("got %d", w.Code)
	}
}
