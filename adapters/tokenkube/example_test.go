package tokenkube_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	tokenkube "github.com/svctoken/svctoken/adapters/tokenkube"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// A webhook for kube-apiserver's --authentication-token-webhook-config-file: it is
// sent a TokenReview, and returns it with a status. Serve it with TLS, and let nobody
// in but the API server. With --authentication-token-webhook-cache-ttl=0s the API
// server asks each time, so that an eviction is in force at once.
func Example() {
	var source tokentest.Source[string] // or a filesource.File, or an indexsource.Source
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "file", &source, tokencache.Config{}); err != nil {
		fmt.Println(err)
		return
	}
	webhook := reviewer(tokenkube.New(group, tokenkube.Config{}))

	account := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	token, err := tokencache.NewToken(account.TokenID("token1"), tokencache.GenerateSecret())
	if err != nil {
		fmt.Println(err)
		return
	}
	source.Put(token, "the record")
	for _, bearer := range []string{token.RevealBearer(), "unheard-of"} {
		body := `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":"` + bearer + `"}}`
		w := httptest.NewRecorder()
		webhook.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(body)))
		var review authenticationv1.TokenReview
		if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(w.Code, review.Status.Authenticated, review.Status.User.Username)
	}
	// Output:
	// 200 true svctoken:elastic/fleet-server
	// 200 false
}

// reviewer answers each TokenReview.
func reviewer(tokens authenticator.Token) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&review); err != nil {
			http.Error(w, "not a TokenReview", http.StatusBadRequest)
			return
		}
		response, ok, err := tokens.AuthenticateToken(r.Context(), review.Spec.Token)
		if err != nil && !errors.Is(err, tokencache.ErrRefused) {
			http.Error(w, "cannot tell at present", http.StatusServiceUnavailable) // the API server tries again
			return
		}
		review.Spec = authenticationv1.TokenReviewSpec{} // the token goes no further
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: ok}
		if ok {
			extra := make(map[string]authenticationv1.ExtraValue)
			for key, values := range response.User.GetExtra() {
				extra[key] = values
			}
			review.Status.User = authenticationv1.UserInfo{
				Username: response.User.GetName(), Groups: response.User.GetGroups(), Extra: extra,
			}
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(review)
	})
}
