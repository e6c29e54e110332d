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
// The whole of it, for a server with tokens in a file:
//
//	dir, err := os.MkdirTemp("", "svctoken-") // a server has a file of its own
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer os.RemoveAll(dir)
//	file, err := filesource.Open(filepath.Join(dir, "service_tokens"), filesource.Config{})
//	if err != nil {
//		log.Fatal(err) // lists every bad line
//	}
//	defer file.Close()
//	group := tokencache.NewGroup(tokencache.GroupConfig{})
//	defer group.Close()
//	if _, err := tokencache.New(group, "file", file, tokencache.Config{}); err != nil {
//		log.Fatal(err)
//	}
//
//	ctx, account := context.Background(), tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
//	token, err := file.Create(ctx, account.TokenID("token1"))
//	if err != nil {
//		log.Fatal(err)
//	}
//	verdict, err := group.Authenticate(ctx, "Bearer "+token.RevealBearer()) // what a client sends
//	fmt.Println(verdict.Token, verdict.Cache, err)
//	report, err := evict.New(group).Evict(ctx, "elastic", "fleet-server", "token1,token2")
//	fmt.Println(report.Evicted, err)
//
// An index is one more cache of the group, which is asked after the file:
//
//	tokencache.New(group, "index", indexsource.New(new(indexsource.Memory)), tokencache.Config{})
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
//     for your tests, and a conformance suite for sources and indexes of your own.
//   - [github.com/svctoken/svctoken/evict]: names to evict as operators write them,
//     and the HTTP route, compatible with Elasticsearch's clear service account
//     token caches API.
//   - [github.com/svctoken/svctoken/tokencache/tokenhttp]: middleware for net/http.
//   - [github.com/svctoken/svctoken/tokencache/tokenlog]: a log of what an operator
//     must know, for log/slog.
//   - [github.com/svctoken/svctoken/tokencache/tokenhash]: password hashes of secrets,
//     for any source.
//   - [github.com/svctoken/svctoken/tokencache/tokenhealth]: whether a process is
//     alive, and ready, for load balancers.
//   - [github.com/svctoken/svctoken/tokencache/tokenmetrics]: the same in numbers, for
//     Prometheus.
//   - [github.com/svctoken/svctoken/fleet]: many nodes: an eviction that has returned
//     holds on each of them. Package fleetlog beneath it is the contract of its log.
//
// Modules of their own hold what needs more dependencies: indexsource/sqlindex for
// an index in SQLite or PostgreSQL, fleet/fleetnats and fleet/fleetsql for a fleet's log,
// and under adapters those for Prometheus' client, OpenTelemetry, gRPC and Kubernetes.
//
// The programs under examples run with one command each. Quickstart takes a minute to
// read. Authserver is a server to try with curl and a browser, and sqlserver the same
// with its tokens in a database. Embedded is a host with middleware, metrics, a source
// of its own and its tests. Cluster shows a fleet of three while it breaks, and soak
// attacks a group beside good callers.
//
// The guides are under docs: start with docs/quickstart.md. The design, and what was
// decided and rejected, is in docs/design.md.
package svctoken
