// Package evict reads what to evict as operators write it, evicts it, and serves
// the HTTP route for it.
//
// For most uses, make a [Local] for the group of caches:
//
//	var ev evict.Evictor = evict.New(group)
//	report, err := ev.Evict(ctx, "elastic", "fleet-server", "token1,token2")
//	report, err = ev.Evict(ctx, "elastic", "fleet-server", "*")
//
// # Names
//
// The names are a comma-separated list of token names, or * alone, which means
// every token of the account. A name given twice counts once. There are no other
// wildcards, no spaces, and no empty names: [Parse] says which name breaks which
// rule, and then nothing is evicted. An account or a token that no cache knows is no
// error, and the report says zero.
//
// # More than one process
//
// A host that names the type [Evictor], as above, becomes a fleet without a change of
// its calls: the fleet's Node is an Evictor that reaches all nodes.
//
// # HTTP
//
// [Handler] serves
//
//	POST /_security/service/{namespace}/{service}/credential/token/{names}/_clear_cache
//
// with the paths, bodies, errors and content types of Elasticsearch's clear service
// account token caches API, except that it knows no format other than JSON; its
// official clients work unmodified.
//
// A browser sends basic credentials by itself, also with the request of another
// site's page. A host whose operators use browsers wraps its routes with
// [net/http.CrossOriginProtection].
//
// # Concurrency
//
// All types are safe for concurrent use by multiple goroutines, and none starts a
// goroutine.
package evict
