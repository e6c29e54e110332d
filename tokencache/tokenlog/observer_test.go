package tokenlog_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenlog"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

var agents = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

// An output is what was written, also by timers.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (o *output) Reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Reset()
}

// newLogger returns a logger without times, and what it has written.
func newLogger() (*slog.Logger, *output) {
	out := new(output)
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "since" {
				return slog.Attr{}
			}
			return a
		},
	})), out
}

func expect(t *testing.T, out *output, when string, want ...string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.TrimSpace(line))
	}
	out.Reset()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: lines (-want +got):\n%s", when, diff)
	}
}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).Observe
		failure := tokencache.Event{Cache: "index", Token: agents.TokenID("a"), Reason: tokencache.ReasonSourceFailed, Err: errors.New("no route")}
		answer := tokencache.Event{Cache: "index", Token: agents.TokenID("a"), Reason: tokencache.ReasonUnknownToken}
		other := tokencache.Event{Cache: "file"}

		observe(t.Context(), answer)
		expect(t, out, "all is well")
		for range 1000 {
			observe(t.Context(), failure)
			observe(t.Context(), tokencache.Event{Kind: tokencache.EventOverload, Cache: "index", Reason: tokencache.ReasonUnavailable})
		}
		expect(t, out, "the first of many", `level=WARN msg="the source fails" cache=index reason=source_failed err="no route" times=1`)
		observe(t.Context(), other)
		time.Sleep(time.Minute)
		observe(t.Context(), failure)
		expect(t, out, "after a minute", `level=ERROR msg="the source has not answered for a minute" cache=index reason=source_failed err="no route" failures=1001`)
		time.Sleep(time.Minute)
		for range 5 {
			observe(t.Context(), failure)
		}
		expect(t, out, "after two", `level=WARN msg="the source fails" cache=index reason=source_failed err="no route" times=1`)
		time.Sleep(time.Minute)
		observe(t.Context(), failure)
		expect(t, out, "after three", `level=WARN msg="the source fails" cache=index reason=source_failed err="no route" times=5`)
		observe(t.Context(), answer)
		observe(t.Context(), answer)
		expect(t, out, "the end", `level=INFO msg="the source answers again" cache=index failures=1007 after=3m0s`)
	})
}

// TestFailuresFarApart: two loads that fail with an hour between them in which nobody
// asked the source are no outage of an hour; the second begins one.
func TestFailuresFarApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).Observe
		failure := tokencache.Event{Cache: "index", Reason: tokencache.ReasonSourceFailed, Err: errors.New("no route")}
		const first = `level=WARN msg="the source fails" cache=index reason=source_failed err="no route" times=1`
		for range 3 {
			observe(t.Context(), failure)
			expect(t, out, "after an hour", first)
			time.Sleep(time.Hour)
		}
		observe(t.Context(), failure)
		expect(t, out, "the begin", first)
		time.Sleep(time.Minute)
		observe(t.Context(), failure)
		expect(t, out, "a minute later", `level=ERROR msg="the source has not answered for a minute" cache=index reason=source_failed err="no route" failures=2`)
	})
}

// TestSecondOutage: it is told at once, also within a minute of the first, and so is
// another reason of the same outage.
func TestSecondOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).Observe
		fails := func(reason tokencache.Reason) {
			observe(t.Context(), tokencache.Event{Cache: "index", Reason: reason, Err: errors.New("no route")})
		}
		fails(tokencache.ReasonSourceFailed)
		time.Sleep(10 * time.Second)
		observe(t.Context(), tokencache.Event{Cache: "index"})
		expect(t, out, "the first",
			`level=WARN msg="the source fails" cache=index reason=source_failed err="no route" times=1`,
			`level=INFO msg="the source answers again" cache=index failures=1 after=10s`)
		time.Sleep(10 * time.Second)
		fails(tokencache.ReasonSourceFailed)
		fails(tokencache.ReasonSourceFailed)
		expect(t, out, "the second", `level=WARN msg="the source fails" cache=index reason=source_failed err="no route" times=1`)
		fails(tokencache.ReasonSourceTimeout)
		fails(tokencache.ReasonSourceTimeout)
		expect(t, out, "another reason", `level=WARN msg="the source fails" cache=index reason=source_timeout err="no route" times=2`)
		time.Sleep(time.Minute)
		fails(tokencache.ReasonSourceFailed)
		expect(t, out, "after a minute", `level=ERROR msg="the source has not answered for a minute" cache=index reason=source_failed err="no route" failures=5`)
		observe(t.Context(), tokencache.Event{Cache: "index"})
		expect(t, out, "the end", `level=INFO msg="the source answers again" cache=index failures=5 after=1m0s`)
	})
}

// TestAlternatingReasons: reasons by turns do not fill the disk.
func TestAlternatingReasons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).Observe
		for range 6000 { // ten minutes
			for _, reason := range []tokencache.Reason{tokencache.ReasonSourceFailed, tokencache.ReasonSourceTimeout} {
				observe(t.Context(), tokencache.Event{Cache: "index", Reason: reason, Err: errors.New("no route")})
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got := strings.Count(out.String(), "\n"); got > 20 || got < 10 {
			t.Errorf("got %d lines in ten minutes", got)
		}
	})
}

func TestFlappingIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).Observe
		for range 600 { // ten minutes of it, ten failures and answers a second
			for range 10 {
				observe(t.Context(), tokencache.Event{Cache: "index", Reason: tokencache.ReasonSourceFailed, Err: errors.New("no route")})
				observe(t.Context(), tokencache.Event{Cache: "index"})
			}
			time.Sleep(time.Second)
		}
		if got := strings.Count(out.String(), "\n"); got > 20 {
			t.Errorf("got %d lines in ten minutes, want at most 20", got)
		}
		if strings.Contains(out.String(), "ERROR") {
			t.Errorf("got an error for a source that answers every second time:\n%s", out)
		}
	})
}

// TestPanic is through a real group: the stack leads to the source, and is shown
// once.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		group := tokencache.NewGroup(tokencache.GroupConfig{Observer: tokenlog.New(tokenlog.Config{Logger: logger}).Observe})
		defer group.Close()
		var src tokentest.Source[string]
		if _, err := tokencache.New(group, "index", &src, tokencache.Config{MaxBackoff: -1}); err != nil {
			t.Fatal(err)
		}
		src.SetPanic("a nil map")
		token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
		for range 3 {
			group.AuthenticateToken(t.Context(), token)
			synctest.Wait()
		}
		if got := strings.Count(out.String(), "level=ERROR"); got != 1 {
			t.Errorf("got %d errors, want 1", got)
		}
		if got := strings.Count(out.String(), "tokentest.(*Source"); got == 0 || strings.Count(out.String(), "stack=") != 1 {
			t.Errorf("the stack of the source was not shown once:\n%s", out)
		}
		if strings.Contains(out.String(), token.Secret().Reveal()) {
			t.Error("the secret is shown")
		}
	})
}

func TestFullAndOverloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).Observe
		full := tokencache.Event{Kind: tokencache.EventDisplacement, Cache: "file", Count: 7}
		away := tokencache.Event{Kind: tokencache.EventOverload, Cache: "file", Token: agents.TokenID("a"), Reason: tokencache.ReasonOverloaded}
		for range 3600 {
			observe(t.Context(), full)
			time.Sleep(time.Second)
		}
		observe(t.Context(), full)
		expect(t, out, "a full cache",
			`level=WARN msg="the cache is full, and forgets tokens to make room" cache=file displaced=7`,
			`level=WARN msg="the cache is full, and forgets tokens to make room" cache=file displaced=25200`)
		for range 61 {
			observe(t.Context(), away)
			time.Sleep(time.Second)
		}
		expect(t, out, "overload",
			`level=WARN msg="authentications are turned away: too much work is waiting" cache=file times=1 token=elastic/fleet-server/a`,
			`level=WARN msg="authentications are turned away: too much work is waiting" cache=file times=60 token=elastic/fleet-server/a`)
	})
}

// TestDefaultLogger: nil is slog's own.
func TestDefaultLogger(t *testing.T) {
	logger, out := newLogger()
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(logger)
	tokenlog.New(tokenlog.Config{}).Observe(context.Background(), tokencache.Event{Kind: tokencache.EventEviction})
	expect(t, out, "the default", `level=INFO msg="caches cleared" cause=asked evicted=0`)
}
