package tokenkube_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/authentication/user"

	tokenkube "github.com/svctoken/svctoken/adapters/tokenkube"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// TestUnion goes through Kubernetes' own request authenticator and union: ours first,
// then one that knows another token.
func TestUnion(t *testing.T) {
	var src tokentest.Source[string]
	kit := tokentest.New(t, tokencache.Config{MaxBackoff: -1}, &src)
	good := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
	wrong := tokentest.NewToken(t, "elastic/fleet-server/token1", "another-secret")
	down := tokentest.NewToken(t, "elastic/fleet-server/token2", "")
	src.Put(good, "record")
	src.PutAnswer(down.ID(), tokencache.Answer[string]{Held: true, Ask: func(context.Context, tokencache.Secret) (bool, error) {
		return false, errors.New("no route to the source")
	}})
	other := authenticator.TokenFunc(func(_ context.Context, token string) (*authenticator.Response, bool, error) {
		return &authenticator.Response{User: &user.DefaultInfo{Name: "other"}}, token == "other-token", nil
	})
	request := bearertoken.New(union.New(tokenkube.New(kit.Group, tokenkube.Config{}), other))
	for _, test := range []struct {
		name, bearer string
		want         string
		err          error
	}{
		{"confirmed", good.RevealBearer(), "svctoken:elastic/fleet-server", nil},
		{"another's", "other-token", "other", nil},
		{"a wrong secret", wrong.RevealBearer(), "", tokencache.ErrRefused},
		{"nobody's", "unheard-of", "", nil},
		{"an outage", down.RevealBearer(), "", &tokencache.NoAnswerError{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+test.bearer)
			response, ok, err := request.AuthenticateRequest(r)
			if ok != (test.want != "") || ok && response.User.GetName() != test.want {
				t.Errorf("got %v, %+v, %v, want %q", ok, response, err, test.want)
			}
			switch test.err.(type) {
			case nil:
			case *tokencache.NoAnswerError:
				if !strings.Contains(err.Error(), "no route to the source") || errors.Is(err, tokencache.ErrRefused) {
					t.Errorf("got %v, want the outage", err)
				}
			default:
				if !errors.Is(err, test.err) {
					t.Errorf("got %v, want %v", err, test.err)
				}
			}
			if err != nil && strings.Contains(err.Error(), test.bearer) {
				t.Error("the error shows the token")
			}
		})
	}
}

func TestUser(t *testing.T) {
	var src tokentest.Source[string]
	kit := tokentest.New(t, tokencache.Config{}, &src)
	token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
	src.Put(token, "editors")
	for _, test := range []struct {
		name string
		cfg  tokenkube.Config
		want *user.DefaultInfo
	}{
		{"by default", tokenkube.Config{}, &user.DefaultInfo{Name: "svctoken:elastic/fleet-server", Extra: map[string][]string{"svctoken/token-name": {"token1"}}}},
		{"by the record", tokenkube.Config{User: func(v tokencache.Verdict[any]) user.Info {
			return &user.DefaultInfo{Name: v.Token.String(), Groups: []string{v.Record.(string)}}
		}}, &user.DefaultInfo{Name: "elastic/fleet-server/token1", Groups: []string{"editors"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			response, ok, err := tokenkube.New(kit.Group, test.cfg).AuthenticateToken(t.Context(), token.RevealBearer())
			if err != nil || !ok {
				t.Fatalf("got %v, %v", ok, err)
			}
			if diff := cmp.Diff(user.Info(test.want), response.User); diff != "" {
				t.Errorf("user (-want +got):\n%s", diff)
			}
		})
	}
}

// TestEviction: a revoked token is refused at once, unlike behind Kubernetes' own cache
// of tokens.
func TestEviction(t *testing.T) {
	var src tokentest.Source[string]
	kit := tokentest.New(t, tokencache.Config{}, &src)
	token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
	src.Put(token, "record")
	tokens := tokenkube.New(kit.Group, tokenkube.Config{})
	if _, ok, err := tokens.AuthenticateToken(t.Context(), token.RevealBearer()); !ok || err != nil {
		t.Fatalf("got %v, %v", ok, err)
	}
	src.Remove(token.ID())
	if _, ok, err := tokens.AuthenticateToken(t.Context(), token.RevealBearer()); ok || !errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("after the revocation: got %v, %v, want ErrRefused", ok, err)
	}
}
