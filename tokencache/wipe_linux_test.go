//go:build !race

package tokencache_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// A wipeSource says of each secret what the name asks for, without a copy of it.
type wipeSource struct{ release chan struct{} }

func (s *wipeSource) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	switch id.Account.Service {
	case "unknown":
		return tokencache.Answer[record]{}, nil
	case "failing":
		return tokencache.Answer[record]{}, errOutage
	case "hanging":
		<-s.release
	}
	return tokencache.Answer[record]{Held: true, Verify: func(secret tokencache.Secret) bool {
		return secret.Len() > 0 && id.Account.Service != "wrong"
	}}, nil
}

func (s *wipeSource) Subscribe(tokencache.Invalidator) func() { return func() {} }

// TestNoCopyOfASecretIsLeft reads the process's own memory, as a core dump would have
// it, without a collection: once authentications by header have ended, their secrets are
// not in it, whatever came of them. It does not run under the race detector, whose own
// memory is too large to be searched.
func TestNoCopyOfASecretIsLeft(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const each = 50
	for _, test := range []struct {
		name, service string
		cfg           tokencache.Config
		callers       int
		gaveUp        bool
		again         time.Duration // when to send it once more
		paused        bool          // while the source is left alone
		other         bool          // another secret is remembered
		longer        bool          // and it is longer, so that the bearer is decoded before memory refuses it
		maxSecret     int
	}{
		{name: "confirmed", service: "good", callers: 1},
		{name: "confirmed for many", service: "good", callers: 8},
		{name: "confirmed from memory", service: "good", callers: 1, again: time.Nanosecond},
		{name: "confirmed, and long", service: "long", callers: 1},
		{name: "confirmed, and long, from memory", service: "long", callers: 1, again: time.Nanosecond},
		{name: "refused from memory", service: "good", callers: 1, other: true},
		{name: "refused from memory, and long", service: "long", callers: 1, other: true},
		{name: "refused from memory, and shorter", service: "good", callers: 1, other: true, longer: true},
		{name: "refused", service: "wrong", callers: 1},
		{name: "too long a secret", service: "good", callers: 1, maxSecret: 10},
		{name: "unknown", service: "unknown", callers: 1},
		{name: "unanswered", service: "failing", callers: 1},
		{name: "given up", service: "hanging", callers: 1, gaveUp: true},
		{name: "given up by many", service: "hanging", callers: 8, gaveUp: true},
		{name: "given up in the queue", service: "hanging", callers: 1, gaveUp: true, cfg: tokencache.Config{MaxLoads: 1}},
		{name: "timed out", service: "hanging", callers: 1, cfg: tokencache.Config{LoadTimeout: 20 * time.Millisecond}},
		{name: "loaded ahead", service: "good", callers: 1, cfg: tokencache.Config{TTL: time.Hour, Jitter: -1, RefreshAhead: time.Hour - time.Second}, again: 20 * time.Minute},
		{name: "not loaded ahead", service: "good", callers: 1, cfg: tokencache.Config{TTL: time.Hour, Jitter: -1, RefreshAhead: time.Hour - time.Second}, again: 20 * time.Minute, paused: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := &wipeSource{release: make(chan struct{})}
				g := tokencache.NewGroup(tokencache.GroupConfig{MaxSecret: test.maxSecret})
				if !test.paused {
					test.cfg.MaxBackoff = -1
				}
				c := newCache(t, g, "test", src, test.cfg)
				m := hidden("wipe-", test.name)
				var headers []string
				for i := range each {
					headers = append(headers, hiddenHeader(test.service, i, m))
				}
				if test.other {
					other := hidden("wipe-", strings.ToUpper(test.name))
					if test.longer {
						other = hidden("a longer one, ", strings.ToUpper(test.name))
					}
					for i := range each {
						if _, err := g.Authenticate(t.Context(), hiddenHeader(test.service, i, other)); err != nil {
							t.Fatal(err)
						}
					}
				}
				send := func(ctx context.Context) {
					var callers sync.WaitGroup
					for _, header := range headers {
						for range test.callers {
							callers.Go(func() { g.Authenticate(ctx, header) })
						}
					}
					callers.Wait()
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if test.gaveUp {
					time.AfterFunc(time.Second, cancel)
				}
				send(ctx)
				if test.again > 0 {
					time.Sleep(test.again)
					for i := range 5 {
						if test.paused {
							check(t, c, mustToken(t, fmt.Sprintf("a%d/failing/t", i), "supersecret"), "error")
						}
					}
					send(ctx)
					synctest.Wait()
				}
				close(src.release)
				synctest.Wait()
				if got := c.Stats().Mismatches; test.other != (got == each) {
					t.Errorf("%d were refused from memory", got)
				}
				if st := c.Stats(); st.Abandoned+st.Loading+st.Waiting > 0 || (st.Refreshed == each) != (test.cfg.RefreshAhead > 0 && !test.paused) {
					t.Errorf("got %+v", st)
				}
				if found := inMemory(t, m); found > 0 {
					t.Errorf("%d copies of %d secrets are left", found, each)
				}
			})
		})
	}
}

// TestMemoryIsSearched: what is there is found.
func TestMemoryIsSearched(t *testing.T) {
	m := hidden("wipe-", "a copy that stays")
	kept := m.show()
	if found := inMemory(t, m); found == 0 {
		t.Error("a copy was not found")
	}
	runtime.KeepAlive(kept)
}

// A mark is a text that is not in memory as such.
type mark []byte

func hidden(texts ...string) mark {
	m := make(mark, 0, 100)
	for _, text := range texts {
		for i := range len(text) {
			m = append(m, text[i]^0x80)
		}
	}
	return m
}

func (m mark) show() []byte {
	shown := bytes.Clone(m)
	for i := range shown {
		shown[i] ^= 0x80
	}
	return shown
}

// hiddenHeader returns the header of a token whose secret is the marked text, and
// leaves no copy of that. The names of the service "long" need more room than a stack has.
func hiddenHeader(service string, i int, m mark) string {
	plain := append(scratch[:0], "\x00\x01\x00\x01a/"+service+"/"+fmt.Sprintf("t%d", i)...)
	if service == "long" {
		plain = append(plain, strings.Repeat("x", 240)...)
	}
	plain = append(plain, ':')
	for _, b := range m {
		plain = append(plain, b^0x80)
	}
	defer clear(scratch[:])
	return "Bearer " + base64.RawStdEncoding.EncodeToString(plain)
}

// scratch is not on a stack, which would be copied when it grows.
var scratch [1000]byte

// inMemory counts how often the marked text is in the memory that the process can
// write.
func inMemory(t *testing.T, m mark) (found int) {
	t.Helper()
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Skip(err)
	}
	defer maps.Close()
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Skip(err)
	}
	defer mem.Close()
	buf := make([]byte, 1<<20)
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") {
			continue
		}
		for at := from; at < to; at += int64(len(buf)) {
			clear(buf)
			n, err := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			if err != nil && !errors.Is(err, io.EOF) {
				break // reserved, and not in use
			}
			for i := range n {
				if buf[i]^0x80 == m[0] && i+len(m) <= n && agrees(buf[i:i+len(m)], m) {
					found++
				}
			}
		}
	}
	return found
}

func agrees(b []byte, m mark) bool {
	for i := range m {
		if b[i]^0x80 != m[i] {
			return false
		}
	}
	return true
}
