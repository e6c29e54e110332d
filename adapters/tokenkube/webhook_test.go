package tokenkube_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	tokenkube "github.com/svctoken/svctoken/adapters/tokenkube"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

func review(version, bearer string, audiences ...string) string {
	list, _ := json.Marshal(audiences)
	return fmt.Sprintf(`{"kind":"TokenReview","apiVersion":%q,"metadata":{"uid":"77"},"spec":{"token":%q,"audiences":%s}}`, version, bearer, list)
}

func TestWebhook(t *testing.T) {
	var src tokentest.Source[string]
	kit := tokentest.New(t, tokencache.Config{MaxBackoff: -1}, &src)
	good := tokentest.NewToken(t, "elastic/fleet-server/token1", "supersecret-one")
	wrong := tokentest.NewToken(t, "elastic/fleet-server/token1", "supersecret-two")
	down := tokentest.NewToken(t, "elastic/fleet-server/token2", "supersecret-three")
	src.Put(good, "editors")
	src.PutAnswer(down.ID(), tokencache.Answer[string]{Held: true, Ask: func(context.Context, tokencache.Secret) (bool, error) {
		return false, errors.New("no route to the source")
	}})
	plain := tokenkube.Config{}
	bound := tokenkube.Config{Audiences: []string{"api", "vault"}, User: func(v tokencache.Verdict[any]) user.Info {
		return &user.DefaultInfo{Name: v.Token.Account.Service, UID: "u1", Groups: []string{v.Record.(string)}}
	}}
	const v1, v1beta1 = "authentication.k8s.io/v1", "authentication.k8s.io/v1beta1"
	confirmed := authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{
		Username: "svctoken:elastic/fleet-server", Extra: map[string]authenticationv1.ExtraValue{"svctoken/token-name": {"token1"}}}}
	own := authenticationv1.TokenReviewStatus{Authenticated: true, Audiences: []string{"vault"},
		User: authenticationv1.UserInfo{Username: "fleet-server", UID: "u1", Groups: []string{"editors"}}}
	any := own
	any.Audiences = nil
	for _, test := range []struct {
		name, method string
		cfg          tokenkube.Config
		body         string
		code         int
		want         authenticationv1.TokenReviewStatus
	}{
		{"confirmed", "POST", plain, review(v1, good.RevealBearer()), 200, confirmed},
		{"the older version", "POST", plain, review(v1beta1, good.RevealBearer()), 200, confirmed},
		{"audiences that nobody has bound", "POST", plain, review(v1, good.RevealBearer(), "other"), 200, confirmed},
		{"of two audiences one", "POST", bound, review(v1, good.RevealBearer(), "other", "vault"), 200, own},
		{"no audience asked for", "POST", bound, review(v1, good.RevealBearer()), 200, any},
		{"another audience", "POST", bound, review(v1, good.RevealBearer(), "other"), 200, authenticationv1.TokenReviewStatus{}},
		{"a wrong secret", "POST", plain, review(v1, wrong.RevealBearer()), 200, authenticationv1.TokenReviewStatus{Error: "the service token was refused"}},
		{"another kind of token", "POST", plain, review(v1, "eyJhbGciOi"), 200, authenticationv1.TokenReviewStatus{}},
		{"no token", "POST", plain, review(v1, ""), 200, authenticationv1.TokenReviewStatus{}},
		{"a token with a line end", "POST", plain, review(v1, good.RevealBearer()+"\n"), 200, authenticationv1.TokenReviewStatus{}},
		{"an outage", "POST", plain, review(v1, down.RevealBearer()), 500, authenticationv1.TokenReviewStatus{}},
		{"GET", "GET", plain, "", 405, authenticationv1.TokenReviewStatus{}},
		{"PUT", "PUT", plain, review(v1, good.RevealBearer()), 405, authenticationv1.TokenReviewStatus{}},
		{"no body", "POST", plain, "", 400, authenticationv1.TokenReviewStatus{}},
		{"no JSON", "POST", plain, good.RevealBearer(), 400, authenticationv1.TokenReviewStatus{}},
		{"a bearer as a number", "POST", plain, `{"kind":"TokenReview","spec":{"token":{"` + good.RevealBearer() + `":1}}}`, 400, authenticationv1.TokenReviewStatus{}},
		{"another version", "POST", plain, review("authentication.k8s.io/v2", good.RevealBearer()), 400, authenticationv1.TokenReviewStatus{}},
		{"another kind", "POST", plain, strings.Replace(review(v1, good.RevealBearer()), "TokenReview", "SubjectAccessReview", 1), 400, authenticationv1.TokenReviewStatus{}},
		{"two objects", "POST", plain, review(v1, good.RevealBearer()) + review(v1, good.RevealBearer()), 400, authenticationv1.TokenReviewStatus{}},
		{"too long", "POST", plain, review(v1, strings.Repeat("x", 1<<20)), 413, authenticationv1.TokenReviewStatus{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			tokenkube.Webhook(kit.Group, test.cfg).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), test.method, "/", strings.NewReader(test.body)))
			if w.Code != test.code {
				t.Fatalf("got %d %s, want %d", w.Code, w.Body, test.code)
			}
			for _, secret := range []string{"supersecret", good.RevealBearer(), wrong.RevealBearer(), down.RevealBearer(), "no route"} {
				if strings.Contains(w.Body.String(), secret) {
					t.Errorf("%q is in the answer %s", secret, w.Body)
				}
			}
			if test.code != 200 {
				return
			}
			var got authenticationv1.TokenReview
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.Status); diff != "" {
				t.Errorf("status (-want +got):\n%s", diff)
			}
			if got.Kind != "TokenReview" || !strings.Contains(test.body, `"`+got.APIVersion+`"`) || got.UID != "77" {
				t.Errorf("got %s %s %q", got.Kind, got.APIVersion, got.UID)
			}
		})
	}
}
