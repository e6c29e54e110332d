package tokengrpc

import (
	"context"

	"google.golang.org/grpc/credentials"

	"github.com/svctoken/svctoken/tokencache"
)

// Credentials returns the credentials with which a client sends the token, for
// grpc.WithPerRPCCredentials or grpc.PerRPCCredentials. They refuse a connection without
// TLS.
func Credentials(token tokencache.Token) credentials.PerRPCCredentials {
	return tokenCredentials{token, true}
}

// InsecureCredentials is like Credentials, but sends the token over any connection, in
// the clear: for tests, and for servers on the same machine.
func InsecureCredentials(token tokencache.Token) credentials.PerRPCCredentials {
	return tokenCredentials{token, false}
}

type tokenCredentials struct {
	token  tokencache.Token
	secure bool
}

// GetRequestMetadata returns the metadata of a call.
func (c tokenCredentials) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{authorization: "Bearer " + c.token.RevealBearer()}, nil
}

// RequireTransportSecurity reports whether the connection must have TLS.
func (c tokenCredentials) RequireTransportSecurity() bool { return c.secure }
