package tokenkube

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"github.com/svctoken/svctoken/tokencache"
)

// versions are those of TokenReview. Their differences do not matter here. An API server
// sends the older one unless --authentication-token-webhook-version=v1 is set.
var versions = []string{"authentication.k8s.io/v1", "authentication.k8s.io/v1beta1"}

// maxReview is how many bytes a review may have. A token has some hundred bytes.
const maxReview = 1 << 20

// What the API server learns of a token that is not good. It may log this.
const (
	textRefused = "the service token was refused"
	textOutage  = "the token cannot be verified at present"
)

// Webhook returns a handler for the reviews that an API server sends to the server that
// its --authentication-token-webhook-config-file names. Serve it with TLS, and let only
// the API server connect. With --authentication-token-webhook-cache-ttl=0s the API server
// asks each time, so that an eviction is in force at once; otherwise it remembers answers
// for two minutes.
//
// The answer to a TokenReview, of version v1 or v1beta1, is a TokenReview:
//
//	confirmed             200, authenticated, with the user and the audiences
//	not a service token   200, not authenticated
//	refused               200, not authenticated, with an error that does not say why
//	no answer             500, for which the API server's client asks again, up to five
//	                      times in four seconds; it would take 503 for the last word
//
// Any method other than POST gets 405, a body that is not a TokenReview 400, and one that
// is too long 413. No answer repeats the token.
//
// It is safe for concurrent use by multiple goroutines.
func Webhook(group *tokencache.Group, cfg Config) http.Handler {
	return webhook{New(group, cfg)}
}

type webhook struct{ tokens authenticator.Token }

func (h webhook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	review, status, text := readReview(w, r)
	if status != 0 {
		http.Error(w, text, status)
		return
	}
	ctx := r.Context()
	if len(review.Spec.Audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, review.Spec.Audiences)
	}
	response, ok, err := h.tokens.AuthenticateToken(ctx, review.Spec.Token)
	if err != nil && !errors.Is(err, tokencache.ErrRefused) {
		http.Error(w, textOutage, http.StatusInternalServerError)
		return
	}
	review.Spec = authenticationv1.TokenReviewSpec{} // the answer must not repeat the token
	review.Status = statusOf(response, ok, err)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(review)
}

// readReview reads the body, or returns how to answer instead.
func readReview(w http.ResponseWriter, r *http.Request) (review authenticationv1.TokenReview, status int, text string) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReview))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return review, http.StatusRequestEntityTooLarge, "the review is too long"
	}
	// The decoder's error is not used: it may quote the body, and so the token.
	if err != nil || json.Unmarshal(body, &review) != nil {
		return review, http.StatusBadRequest, "the body is no JSON object of the kind TokenReview"
	}
	if review.Kind != "TokenReview" || !slices.Contains(versions, review.APIVersion) {
		return review, http.StatusBadRequest, "the kind must be TokenReview, of authentication.k8s.io/v1 or authentication.k8s.io/v1beta1"
	}
	return review, 0, ""
}

func statusOf(response *authenticator.Response, ok bool, err error) authenticationv1.TokenReviewStatus {
	if err != nil {
		return authenticationv1.TokenReviewStatus{Error: textRefused}
	}
	if !ok {
		return authenticationv1.TokenReviewStatus{}
	}
	extra := make(map[string]authenticationv1.ExtraValue)
	for key, values := range response.User.GetExtra() {
		extra[key] = values
	}
	return authenticationv1.TokenReviewStatus{
		Authenticated: true,
		User: authenticationv1.UserInfo{
			Username: response.User.GetName(), UID: response.User.GetUID(), Groups: response.User.GetGroups(), Extra: extra,
		},
		Audiences: response.Audiences,
	}
}
