package tokenlog_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenlog"
)

// TestEvictions: an eviction that is alone has a line of its own, at once.
func TestEvictions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).Observe
		sel, err := agents.Select("token1", "token2")
		if err != nil {
			t.Fatal(err)
		}
		sels := []tokencache.Selector{sel}
		for _, test := range []struct {
			ev   tokencache.Event
			want string
		}{
			{tokencache.Event{Selectors: sels, Evicted: map[string]int{"file": 1, "index": 2}},
				`level=INFO msg="tokens evicted" cause=asked evicted=3 tokens=[elastic/fleet-server/token1,token2] selectors=1`},
			{tokencache.Event{Cause: tokencache.CauseNode}, `level=INFO msg="caches cleared" cause=node evicted=0`},
			{tokencache.Event{Cause: tokencache.CauseState, Cache: "index"}, `level=INFO msg="caches cleared" cause=state evicted=0 cache=index`},
			{tokencache.Event{Cause: tokencache.CauseSource, Cache: "file"}, `level=INFO msg="caches cleared" cause=source evicted=0 cache=file`},
			{tokencache.Event{Cause: tokencache.CauseSource, Cache: "index", Selectors: sels},
				`level=DEBUG msg="tokens evicted" cause=source evicted=0 cache=index tokens=[elastic/fleet-server/token1,token2] selectors=1`},
			{tokencache.Event{Cause: tokencache.CauseClosed, Cache: "index"}, `level=DEBUG msg="caches cleared" cause=closed evicted=0 cache=index`},
		} {
			test.ev.Kind = tokencache.EventEviction
			observe(t.Context(), test.ev)
			expect(t, out, fmt.Sprint(test.ev.Cause), test.want)
			time.Sleep(1001 * time.Millisecond)
			synctest.Wait()
		}
	})
}

// TestEvictionStorm: of thousands of evictions there is a line a second, which says how
// many there were and who asked for them; none is left out.
func TestEvictionStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).Observe
		sel, err := agents.Select("token1")
		if err != nil {
			t.Fatal(err)
		}
		storm := func(user string, n int) {
			for range n {
				observe(evict.WithUser(t.Context(), evict.User{Name: user}), tokencache.Event{
					Kind: tokencache.EventEviction, Selectors: []tokencache.Selector{sel}, Evicted: map[string]int{"file": 2}})
			}
		}
		storm("ada", 6000)
		expect(t, out, "at once", `level=INFO msg="tokens evicted" cause=asked evicted=2 caller=ada tokens=[elastic/fleet-server/token1] selectors=1`)
		storm("grace", 6000)
		time.Sleep(time.Second)
		synctest.Wait()
		expect(t, out, "after a second", `level=INFO msg="many evictions within a second" evictions=11999 evicted=23998 causes=[asked] callers="[ada grace]"`)
		storm("ada", 1)
		expect(t, out, "soon after a line")
		time.Sleep(time.Second)
		synctest.Wait()
		expect(t, out, "a single one", `level=INFO msg="tokens evicted" cause=asked evicted=2 caller=ada tokens=[elastic/fleet-server/token1] selectors=1`)
		time.Sleep(time.Hour)
		synctest.Wait()
		expect(t, out, "an hour later")
		storm("ada", 10)
		observe(t.Context(), tokencache.Event{Kind: tokencache.EventEviction, Cause: tokencache.CauseClosed})
		expect(t, out, "the end, after which there may be no second",
			`level=INFO msg="tokens evicted" cause=asked evicted=2 caller=ada tokens=[elastic/fleet-server/token1] selectors=1`,
			`level=INFO msg="many evictions within a second" evictions=10 evicted=18 causes="[asked closed]" callers=[ada]`)
	})
}

// TestStormOfManyMinutes: what goes on for ten minutes has 600 lines.
func TestStormOfManyMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		observe := tokenlog.New(tokenlog.Config{Logger: logger}).Observe
		for range 600 {
			for range 10 {
				observe(t.Context(), tokencache.Event{Kind: tokencache.EventEviction, Cause: tokencache.CauseSource, Cache: "file"})
				time.Sleep(100 * time.Millisecond)
			}
		}
		synctest.Wait()
		if got := strings.Count(out.String(), "\n"); got > 601 || got < 599 {
			t.Errorf("got %d lines", got)
		}
	})
}

// TestQuietLogger: what the logger does not want is not counted with what it does.
func TestQuietLogger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		quiet := tokenlog.New(tokenlog.Config{Logger: slog.New(above{logger.Handler()})})
		for range 3 {
			quiet.Observe(t.Context(), tokencache.Event{Kind: tokencache.EventEviction, Cause: tokencache.CauseSource, Selectors: []tokencache.Selector{}})
		}
		quiet.Observe(t.Context(), tokencache.Event{Kind: tokencache.EventEviction})
		expect(t, out, "at once", `level=INFO msg="caches cleared" cause=asked evicted=0`)
	})
}

// above is a handler without debug lines.
type above struct{ slog.Handler }

func (a above) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// TestWatch: the lines of a group that has a name have it.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logger, out := newLogger()
		logs := tokenlog.New(tokenlog.Config{Logger: logger})
		group := tokencache.NewGroup(tokencache.GroupConfig{Observer: logs.Observe})
		logs.Watch("", group)
		logs.Watch("tenant1", group)
		logs.Observe(t.Context(), tokencache.Event{Kind: tokencache.EventEviction, Cause: tokencache.CauseNode})
		expect(t, out, "a line", `level=INFO msg="caches cleared" group=tenant1 cause=node evicted=0`)
	})
}
