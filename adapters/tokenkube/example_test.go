package tokenkube_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"

	tokenkube "github.com/svctoken/svctoken/adapters/tokenkube"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// The answers that an API server gets for two tokens.
func ExampleWebhook() {
	var source tokentest.Source[string] // or a filesource.File, or an indexsource.Source
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "file", &source, tokencache.Config{}); err != nil {
		fmt.Println(err)
		return
	}
	webhook := tokenkube.Webhook(group, tokenkube.Config{}) // for http.ListenAndServeTLS

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
