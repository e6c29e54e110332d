// Package server is an auth server for service accounts without its index: the
// requests of Elasticsearch's service account tokens, the page for operators, and
// the flags. examples/authserver runs it with an index in memory.
//
//	var o server.Options
//	server.Main("authserver", &o, func(ctx context.Context) error {
//		return server.Run(ctx, o, server.InMemory())
//	})
//
// To read it from the top: flags.go and run.go put the library's parts together,
// routes.go has the routes and server.go what they do, caller.go says which callers may
// use them, index.go what the server needs of an index, and page.go and journal.go make
// the page.
package server
