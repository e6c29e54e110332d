// Package svctoken is the front page of a module that tells a Go auth server whether
// a bearer token belongs to a service account, as Elasticsearch's service account
// tokens do, and that caches the answers. The module's packages hold everything;
// this one exports nothing.
//
// The slow answer, a password hash from a file or a document from an index, is
// computed once and remembered. When a token is revoked, an eviction removes it from
// every cache at one instant. After it returns, no new request gets an older answer,
// whatever was being loaded. A hit takes no lock and allocates nothing.
//
// The whole of it, for a server with tokens in a file and in an index:
//
//	file, err := filesource.Open("filesource/testdata/service_tokens", filesource.Config{})
//	if err != nil {
//		log.Fatal(err) // lists every bad line
//	}
//	defer file.Close()
//	index := indexsource.New(new(indexsource.Memory)) // or an adapter for your own
//
//	group := tokencache.NewGroup(tokencache.GroupConfig{})
//	defer group.Close()
//	if _, err := tokencache.New(group, "file", file, tokencache.Config{}); err != nil {
//		log.Fatal(err)
//	}
//	if _, err := tokencache.New(group, "index", index, tokencache.Config{}); err != nil {
//		log.Fatal(err)
//	}
//	ev := evict.New(group)
//
//	ctx := context.Background()
//	authorization := "Bearer AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA"
//	verdict, err := group.Authenticate(ctx, authorization)
//	fmt.Println(verdict.Token, verdict.Cache, err)
//
//	report, err := ev.Evict(ctx, "elastic", "fleet-server", "token1,token2")
//	fmt.Println(report.Evicted, err)
//
// # Packages
//
//   - [github.com/svctoken/svctoken/tokencache]: the words (account, token, secret,
//     selector), the caches and the group in which they are forgotten together.
//     Start here; its documentation has the promises.
//   - [github.com/svctoken/svctoken/filesource]: tokens in a service_tokens file,
//     which is followed as it changes.
//   - [github.com/svctoken/svctoken/indexsource]: tokens in an index, with an
//     adapter interface of two methods, and an index in memory.
//   - [github.com/svctoken/svctoken/tokencache/tokentest]: sources, groups and tokens
//     for the tests of those who use the module, and tests for sources of your own.
//   - [github.com/svctoken/svctoken/evict]: names to evict as operators write them,
//     and the HTTP route, compatible with Elasticsearch's clear service account
//     token caches API.
//
// Two programs, each runnable with go run, show it at work: examples/quickstart
// takes a minute to read, and examples/authserver is a server to try with curl.
package svctoken
