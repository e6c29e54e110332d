package tokenhttp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhttp"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

func app(w http.ResponseWriter, r *http.Request) {
	v, ok := tokenhttp.Verdict(r.Context())
	fmt.Fprint(w, "app ", v.Token, " ", v.Record, " ", ok, " ", r.Header.Get("Authorization") != "")
}

func other(w http.ResponseWriter, r *http.Request) {
	_, ok := tokenhttp.Verdict(r.Context())
	fmt.Fprint(w, "other ", ok, " ", r.Header.Get("Authorization"))
}

func TestWrap(t *testing.T) {
	var src tokentest.Source[string]
	kit := tokentest.New(t, tokencache.Config{MaxBackoff: -1}, &src)
	good := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
	wrong := tokentest.NewToken(t, "elastic/fleet-server/token1", "another-secret")
	down := tokentest.NewToken(t, "elastic/fleet-server/token2", "")
	src.Put(good, "record")
	outage := errors.New("no route to the source")
	src.PutAnswer(down.ID(), tokencache.Answer[string]{Held: true, Ask: func(context.Context, tokencache.Secret) (bool, error) { return false, outage }})

	plain := tokenhttp.Config{}
	open := tokenhttp.Config{Other: http.HandlerFunc(other), Challenges: []string{`Basic realm="users"`, "Negotiate"}, Realm: "tokens", KeepHeader: true}
	for _, test := range []struct {
		name       string
		cfg        tokenhttp.Config
		header     []string
		status     int
		body       string
		challenges []string
		retryAfter string
	}{
		{"confirmed", plain, []string{tokentest.Authorization(good)}, 200, "app elastic/fleet-server/token1 record true false", nil, ""},
		{"the header is kept", open, []string{tokentest.Authorization(good)}, 200, "app elastic/fleet-server/token1 record true true", nil, ""},
		{"no credentials", plain, nil, 401, "Unauthorized\n", []string{`Bearer realm="security"`}, ""},
		{"no credentials, and another handler", open, nil, 200, "other false ", nil, ""},
		{"another scheme", plain, []string{"Basic dXNlcjpwYXNz"}, 401, "Unauthorized\n", []string{`Bearer realm="security"`}, ""},
		{"another scheme, and another handler", open, []string{"Basic dXNlcjpwYXNz"}, 200, "other false Basic dXNlcjpwYXNz", nil, ""},
		{"another kind of bearer", open, []string{"Bearer eyJhbGciOi"}, 200, "other false Bearer eyJhbGciOi", nil, ""},
		{"a wrong secret", plain, []string{tokentest.Authorization(wrong)}, 401, "Unauthorized\n", []string{`Bearer realm="security", error="invalid_token"`}, ""},
		{"a wrong secret, and another handler", open, []string{tokentest.Authorization(wrong)}, 401, "Unauthorized\n", []string{`Basic realm="users"`, "Negotiate", `Bearer realm="tokens", error="invalid_token"`}, ""},
		{"an outage", open, []string{tokentest.Authorization(down)}, 503, "Service Unavailable\n", nil, "1"},
		{"two headers", open, []string{tokentest.Authorization(good), "Basic dXNlcjpwYXNz"}, 400, "Bad Request\n", nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
			for _, value := range test.header {
				r.Header.Add("Authorization", value)
			}
			w := httptest.NewRecorder()
			tokenhttp.Wrap(kit.Group, http.HandlerFunc(app), test.cfg).ServeHTTP(w, r)
			if w.Code != test.status || w.Body.String() != test.body {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, test.status, test.body)
			}
			if diff := cmp.Diff(test.challenges, w.Header()["Www-Authenticate"]); diff != "" {
				t.Errorf("challenges (-want +got):\n%s", diff)
			}
			if got := w.Header().Get("Retry-After"); got != test.retryAfter {
				t.Errorf("Retry-After: got %q, want %q", got, test.retryAfter)
			}
			if diff := cmp.Diff(test.header, r.Header["Authorization"]); diff != "" {
				t.Errorf("the server's own request was changed (-want +got):\n%s", diff)
			}
		})
	}
}

// TestOverload: Retry-After is what the group says, rounded up.
func TestOverload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src tokentest.Source[string]
		group := tokencache.NewGroup(tokencache.GroupConfig{})
		defer group.Close()
		if _, err := tokencache.New(group, "down", &src, tokencache.Config{MaxLoads: 1}); err != nil {
			t.Fatal(err)
		}
		hold := src.Hold()
		defer hold.Release()
		var want *tokencache.NoAnswerError
		cfg := tokenhttp.Config{Answer: func(w http.ResponseWriter, _ *http.Request, status int, err error) {
			want, _ = errors.AsType[*tokencache.NoAnswerError](err)
			w.WriteHeader(status)
		}}
		// The first load reads, the second waits for its turn until MaxWait ends.
		go group.AuthenticateToken(t.Context(), tokentest.NewToken(t, "elastic/fleet-server/token1", ""))
		synctest.Wait()
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header.Set("Authorization", tokentest.Authorization(tokentest.NewToken(t, "elastic/fleet-server/token2", "")))
		w := httptest.NewRecorder()
		tokenhttp.Wrap(group, http.HandlerFunc(app), cfg).ServeHTTP(w, r)
		seconds := w.Header().Get("Retry-After")
		if w.Code != 503 || want == nil || seconds == "" || seconds == "0" {
			t.Fatalf("got %d, Retry-After %q and %v", w.Code, seconds, want)
		}
		if wait := fmt.Sprint(max(1, int(want.RetryAfter.Seconds()+0.999999999))); seconds != wait {
			t.Errorf("Retry-After: got %s, want %s for %v", seconds, wait, want.RetryAfter)
		}
	})
}

// TestSilence: what the host is told to log has no token, and the package logs
// nothing by itself.
func TestSilence(t *testing.T) {
	var out bytes.Buffer
	defer func(l *slog.Logger, flags int) {
		slog.SetDefault(l)
		log.SetOutput(log.Default().Writer())
		log.SetFlags(flags)
	}(slog.Default(), log.Flags())
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	var src tokentest.Source[string]
	kit := tokentest.New(t, tokencache.Config{}, &src)
	token := tokentest.NewToken(t, "elastic/fleet-server/token1", "supersecret-one")
	refused := tokentest.NewToken(t, "elastic/fleet-server/token1", "supersecret-two")
	src.Put(token, "record")
	handler := tokenhttp.Wrap(kit.Group, http.HandlerFunc(app), tokenhttp.Config{Answer: func(w http.ResponseWriter, r *http.Request, status int, err error) {
		fmt.Fprintf(&out, "%v %+v %#v\n", err, err, err)
		slog.Info("turned away", "status", status, "err", err)
	}})
	for _, authorization := range []string{
		tokentest.Authorization(token), tokentest.Authorization(refused), "Bearer  " + refused.RevealBearer(),
		tokentest.Authorization(refused) + "!", "Basic " + refused.RevealBearer(),
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Fprintln(&out, w.Body, w.Header())
	}
	for _, secret := range []string{"supersecret", token.RevealBearer(), refused.RevealBearer(), "c3VwZXJzZWNyZXQ"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q is shown:\n%s", secret, &out)
		}
	}
}

// discard is a response that nobody reads.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// hit returns a request with this many headers whose token is remembered.
func hit(t testing.TB, headers int, cfg tokenhttp.Config, next http.HandlerFunc) (http.Handler, *http.Request) {
	var src tokentest.Source[string]
	kit := tokentest.New(t, tokencache.Config{}, &src)
	token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
	src.Put(token, "record")
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	r.Header.Set("Authorization", tokentest.Authorization(token))
	for i := len(r.Header); i < headers; i++ {
		r.Header.Set(fmt.Sprint("X-", i), "x")
	}
	handler := tokenhttp.Wrap(kit.Group, next, cfg)
	handler.ServeHTTP(discard{http.Header{}}, r)
	return handler, r
}

func verdictOf(_ http.ResponseWriter, r *http.Request) { tokenhttp.Verdict(r.Context()) }

// TestAllocations: a hit costs what http.Handler's contract asks for, a copy of the
// request and of its headers, and nothing more.
func TestAllocations(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector's builds allocate more")
	}
	for _, test := range []struct {
		name        string
		headers     int
		cfg         tokenhttp.Config
		allocations float64
		bytes       uint64
	}{
		{"one header", 1, tokenhttp.Config{}, 3, 816},
		{"eight headers", 8, tokenhttp.Config{}, 3, 816},
		{"kept", 8, tokenhttp.Config{KeepHeader: true}, 1, 416},
	} {
		t.Run(test.name, func(t *testing.T) {
			handler, r := hit(t, test.headers, test.cfg, verdictOf)
			w := discard{http.Header{}}
			serve := func() { handler.ServeHTTP(w, r) }
			if got := testing.AllocsPerRun(1000, serve); got > test.allocations {
				t.Errorf("got %v allocations, want at most %v", got, test.allocations)
			}
			const runs = 20000 // what the test's own goroutines allocate is lost in it
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range runs {
				serve()
			}
			runtime.ReadMemStats(&after)
			if got := (after.TotalAlloc - before.TotalAlloc) / runs; got > test.bytes {
				t.Errorf("got %d bytes, want at most %d", got, test.bytes)
			}
		})
	}
}

// TestContext: the request that the handler gets is the server's in everything else,
// and its context ends with the server's.
func TestContext(t *testing.T) {
	type key struct{}
	type endKey struct{}
	handler, r := hit(t, 3, tokenhttp.Config{}, func(w http.ResponseWriter, r *http.Request) {
		end, ok := r.Context().Value(endKey{}).(context.CancelFunc)
		if !ok {
			return // the one that loads
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		if r.Context().Value(key{}) != "value" || r.Method != "GET" || r.URL.Path != "/" || len(r.Header) != 2 {
			t.Errorf("got %v and %+v", r.Context().Value(key{}), r)
		}
		end()
		<-ctx.Done()
	})
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	defer cancel()
	handler.ServeHTTP(discard{http.Header{}}, r.WithContext(context.WithValue(ctx, endKey{}, cancel)))
	if ctx.Err() == nil {
		t.Error("the handler was not called")
	}
}
