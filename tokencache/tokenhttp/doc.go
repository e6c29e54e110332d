// Package tokenhttp puts a tokencache.Group before the handlers of a net/http server.
//
// For most uses, wrap the handler to protect, and read the sender from the request's
// context:
//
//	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
//		verdict, _ := tokenhttp.Verdict(r.Context())
//		fmt.Fprintln(w, "hello", verdict.Token.Account)
//	})
//	http.ListenAndServe("localhost:8080", tokenhttp.Wrap(group, app, tokenhttp.Config{}))
//
// What happens to a request:
//
//	its token is confirmed            the handler, with the verdict in the context
//	it has no service token           Config.Other; without it, 401
//	its token is refused              401
//	nobody can tell, or overloaded    503 with Retry-After
//	more than one Authorization line  400
//
// The package logs nothing. The handler gets the request without its Authorization
// header, so that it cannot log the token by mistake; see Config.KeepHeader.
//
// # Concurrency
//
// Handlers are safe for concurrent use by multiple goroutines, and start none.
package tokenhttp
