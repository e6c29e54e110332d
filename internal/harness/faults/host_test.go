package faults_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenlog"
	"github.com/svctoken/svctoken/tokencache/tokenmetrics"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// A host is a small auth server, to which one thing happens.
type host struct {
	name    string
	address string

	t       *testing.T
	log     *output
	logger  *slog.Logger
	logs    *tokenlog.Observer
	metrics *tokenmetrics.Observer
	group   *tokencache.Group
	src     tokentest.Source[string]
	tokens  []tokencache.Token // of good callers

	ctx     context.Context // ends with the test
	callers sync.WaitGroup
}

// An output is a log in memory.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) has(text string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Contains(o.buf.String(), text)
}

func newHost(t *testing.T, name string, cfg tokencache.GroupConfig) *host {
	h := &host{name: name, t: t, log: new(output), metrics: tokenmetrics.New(tokenmetrics.Config{})}
	h.logger = slog.New(slog.NewTextHandler(h.log, nil))
	h.logs = tokenlog.New(tokenlog.Config{Logger: h.logger})
	cfg.Observer = func(ctx context.Context, ev tokencache.Event) {
		h.metrics.Observe(ctx, ev)
		h.logs.Observe(ctx, ev)
	}
	h.group = tokencache.NewGroup(cfg)
	h.metrics.Watch("", h.group)
	web := httptest.NewServer(tokenmetrics.Handler(h.metrics))
	h.address = web.Listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	h.ctx = ctx
	t.Cleanup(func() {
		cancel()
		h.callers.Wait()
		h.group.Close()
		web.Close()
	})
	return h
}

// observeFleet is for fleet.Config.Observer.
func (h *host) observeFleet(ev fleet.Event) {
	h.metrics.ObserveFleet(ev)
	h.logs.ObserveFleet(ev)
}

// account is the account of the hosts' tokens.
var account = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

// cached is the configuration of a cache that asks for its tokens again every two
// seconds.
var cached = tokencache.Config{TTL: 2 * time.Second, LoadTimeout: time.Second}

// cache adds a cache for a source.
func cache[R any](h *host, name string, source tokencache.Source[R], cfg tokencache.Config) {
	h.t.Helper()
	if _, err := tokencache.New(h.group, name, source, cfg); err != nil {
		h.t.Fatal(err)
	}
}

// fill puts good tokens into the host's own source. Verifying one takes this long.
func (h *host) fill(n int, verify time.Duration) {
	for i := range n {
		token := tokentest.NewToken(h.t, fmt.Sprintf("elastic/fleet-server/token%d", i), "")
		h.src.PutAnswer(token.ID(), tokencache.Answer[string]{Held: true, Verify: func(secret tokencache.Secret) bool {
			time.Sleep(verify)
			return token.Secret().Equal(secret)
		}})
		h.tokens = append(h.tokens, token)
	}
}

// every calls f this often until the test ends. Calls may overlap.
func (h *host) every(d time.Duration, call func()) {
	h.callers.Go(func() {
		ticker := time.NewTicker(d)
		defer ticker.Stop()
		for {
			select {
			case <-h.ctx.Done():
				return
			case <-ticker.C:
				h.callers.Go(call)
			}
		}
	})
}

// serve makes good callers send ten requests a second, and wait for five seconds.
func (h *host) serve() {
	h.every(100*time.Millisecond, func() { h.ask(h.tokens[rand.IntN(len(h.tokens))], 5*time.Second) })
}

func (h *host) ask(token tokencache.Token, patience time.Duration) {
	ctx, cancel := context.WithTimeout(h.ctx, patience)
	defer cancel()
	h.group.AuthenticateToken(ctx, token)
}

// tail returns the end of the log.
func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.buf.String()
	return text[max(0, len(text)-1500):]
}
