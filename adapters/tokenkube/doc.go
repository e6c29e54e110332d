// Package tokenkube lets servers that are built on k8s.io/apiserver authenticate
// service tokens: it is an authenticator.Token, for the union with others, or, as
// [Webhook], for the TokenReviews of an API server.
//
// For most uses, put it first in the union:
//
//	tokens := union.New(tokenkube.New(group, tokenkube.Config{}), others)
//	request := bearertoken.New(tokens)
//
// Put no token cache around it: the group is one, and that other cache would not hear of
// evictions.
package tokenkube
