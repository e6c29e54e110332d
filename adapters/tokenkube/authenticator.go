package tokenkube

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/svctoken/svctoken/tokencache"
)

// Config holds the options of [New] and [Webhook]. The zero value is the recommended production
// setting.
type Config struct {
	// User returns the user of a confirmed token. Its name must not begin with system:,
	// which Kubernetes reserves. Nil: svctoken:namespace/service, without groups, with
	// the token's name as the extra svctoken/token-name.
	User func(tokencache.Verdict[any]) user.Info

	// Audiences are those for which the tokens are good. A review that names none of them
	// gets false; one that names some gets those. Nil: audiences are ignored, and the
	// tokens are good for the API server.
	Audiences []string
}

// New returns an authenticator for the group's tokens. For a bearer that is ..., it
// returns
//
//	confirmed             true, and who it is
//	not a service token   false, and no error: another authenticator may know it
//	refused               false, and an error that wraps tokencache.ErrRefused
//	no answer             false, and an error that wraps a *tokencache.NoAnswerError
//
// It is safe for concurrent use by multiple goroutines.
func New(group *tokencache.Group, cfg Config) authenticator.Token {
	if cfg.User == nil {
		cfg.User = userOf
	}
	tokens := authenticator.TokenFunc(func(ctx context.Context, bearer string) (*authenticator.Response, bool, error) {
		verdict, err := group.Authenticate(ctx, "Bearer "+bearer)
		switch {
		case err == nil:
			return &authenticator.Response{User: cfg.User(verdict)}, true, nil
		case errors.Is(err, tokencache.ErrNotServiceToken):
			return nil, false, nil
		default:
			return nil, false, err
		}
	})
	if len(cfg.Audiences) == 0 {
		return tokens
	}
	return authenticator.WrapAudienceAgnosticToken(slices.Clone(cfg.Audiences), tokens)
}

func userOf(verdict tokencache.Verdict[any]) user.Info {
	return &user.DefaultInfo{
		Name:  "svctoken:" + verdict.Token.Account.String(),
		Extra: map[string][]string{"svctoken/token-name": {verdict.Token.Name}},
	}
}
