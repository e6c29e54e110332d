// Package kube_test sends requests to tokenkube.Webhook with an API server's own client.
package kube_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
	"k8s.io/client-go/rest"

	"github.com/svctoken/svctoken/adapters/tokenkube"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// A server is the webhook behind HTTP, with a count of what it was asked.
type server struct {
	src   tokentest.Source[string]
	calls atomic.Int32
	fail  atomic.Int32 // how many of the next reviews find the source down
	url   string
}

func newServer(t *testing.T, cfg tokenkube.Config) *server {
	s := new(server)
	kit := tokentest.New(t, tokencache.Config{MaxBackoff: -1}, &s.src)
	handler := tokenkube.Webhook(kit.Group, cfg)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		if s.fail.Add(-1) == 0 {
			s.src.SetError(nil)
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(web.Close)
	s.url = web.URL
	return s
}

// client returns the client that kube-apiserver makes of its configuration, with shorter
// pauses.
func (s *server) client(t *testing.T, version string, audiences ...string) *webhook.WebhookTokenAuthenticator {
	t.Helper()
	backoff := wait.Backoff{Duration: time.Millisecond, Factor: 1.5, Jitter: .2, Steps: 5}
	client, err := webhook.New(&rest.Config{Host: s.url}, version, audiences, backoff)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestOutage: the client asks again until the source is back, at most five times. Of 503
// it makes one call.
func TestOutage(t *testing.T) {
	for _, version := range []string{"v1", "v1beta1"} {
		s := newServer(t, tokenkube.Config{})
		token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
		s.src.Put(token, "record")
		s.src.SetError(errors.New("no route to the source"))
		s.fail.Store(4)
		response, ok, err := s.client(t, version).AuthenticateToken(t.Context(), token.RevealBearer())
		if err != nil || !ok || response.User.GetName() != "svctoken:elastic/fleet-server" {
			t.Errorf("%s: got %v, %v, %v", version, response, ok, err)
		}
		if got := s.calls.Load(); got != 4 {
			t.Errorf("%s: got %d calls, want 4", version, got)
		}
		s.calls.Store(0)
		s.src.SetError(errors.New("no route to the source"))
		other := tokentest.NewToken(t, "elastic/fleet-server/token2", "")
		if _, ok, err := s.client(t, version).AuthenticateToken(t.Context(), other.RevealBearer()); ok || err == nil {
			t.Errorf("%s: an outage without end: got %v, %v, want an error", version, ok, err)
		}
		if got := s.calls.Load(); got != 5 {
			t.Errorf("%s: an outage without end: got %d calls, want 5", version, got)
		}
	}
}

// TestAnswers: the client's result for each answer.
func TestAnswers(t *testing.T) {
	s := newServer(t, tokenkube.Config{Audiences: []string{"api", "vault"}})
	good := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
	wrong := tokentest.NewToken(t, "elastic/fleet-server/token1", "another-secret")
	s.src.Put(good, "record")
	client := s.client(t, "v1", "api")
	for _, test := range []struct {
		name, bearer string
		audiences    authenticator.Audiences
		ok, isErr    bool
	}{
		{"confirmed", good.RevealBearer(), nil, true, false},
		{"the API server's audience", good.RevealBearer(), authenticator.Audiences{"api"}, true, false},
		{"another's", good.RevealBearer(), authenticator.Audiences{"other"}, false, false},
		{"a wrong secret", wrong.RevealBearer(), nil, false, true},
		{"not ours", "eyJhbGciOi", nil, false, false},
	} {
		ctx := context.Context(t.Context())
		if test.audiences != nil {
			ctx = authenticator.WithAudiences(ctx, test.audiences)
		}
		s.calls.Store(0)
		_, ok, err := client.AuthenticateToken(ctx, test.bearer)
		if ok != test.ok || (err != nil) != test.isErr || s.calls.Load() != 1 {
			t.Errorf("%s: got %v, %v after %d calls", test.name, ok, err, s.calls.Load())
		}
	}
}
