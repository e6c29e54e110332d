// Command authserver is an auth server for service accounts, with tokens in a
// service_tokens file and in an index in memory. It speaks the requests of
// Elasticsearch's service account tokens, and shows a page to operators.
//
//	go run ./examples/authserver
//
// Without -service-tokens it makes a sample file in a temporary folder, and prints
// a token and the requests to try. Everything but the choice of the index is in
// package [github.com/svctoken/svctoken/examples/authserver/server].
package main

import (
	"context"

	"github.com/svctoken/svctoken/examples/authserver/server"
)

func main() {
	var o server.Options
	server.Main("authserver", &o, func(ctx context.Context) error {
		return server.Run(ctx, o, server.InMemory())
	})
}
