// Package tokencache answers whether a bearer token belongs to a service
// account, remembers the answers, and forgets exactly the right ones at exactly
// the right moment.
//
// For most uses, make a [Group], add a [Cache] for each place where tokens live,
// and give the Authorization header's value to [Group.Authenticate]:
//
//	group := tokencache.NewGroup(tokencache.GroupConfig{})
//	defer group.Close()
//	cache, err := tokencache.New(group, "file", source, tokencache.Config{})
//	...
//	verdict, err := group.Authenticate(ctx, r.Header.Get("Authorization"))
//	switch {
//	case err == nil: // verdict.Token.Account is authenticated
//	case errors.Is(err, tokencache.ErrNotServiceToken): // try other schemes
//	case errors.Is(err, tokencache.ErrRefused): // 401
//	default: // no answer: 503
//	}
//
// The sources that come with the module are in the packages filesource and
// indexsource; package evict reads the names to evict as an operator writes them,
// and serves the HTTP route. [Source] says how to write another source.
//
// # Words
//
// An [Account] is namespace/service. A [TokenID] is an account and a token's
// name. A [Secret] is what a bearer proves, and a [Token] is both. A [Selector]
// says what to evict. A [Source] is where tokens really live, and a [Cache]
// remembers what one source said; its record type is what the source knows of a
// token. A [Group] is the caches that are forgotten together.
//
// # Promises
//
// Freshness: once an eviction has returned, no authentication that starts
// afterwards gets a verdict which derives from a source read that began before
// the eviction was called. That holds for [Group.Evict], [Group.Clear],
// [Cache.Evict], [Cache.Clear], and for a source's own calls of its
// [Invalidator].
//
// Atomicity: one eviction, over any number of names and caches, happens at one
// instant. [Group] has the argument.
//
// Exactness: an eviction removes what its selector names and nothing else. It
// costs what goes, not what stays.
//
// One load: any number of concurrent callers with the same token cause one
// source read. A caller that gives up does not disturb the others; a source that
// panics or hangs harms those alone who wait for it.
//
// Refusals: an error of a source is an error, never "refused", and is never
// remembered. A wrong secret for a remembered token is refused from memory.
//
// Bounds: entries, loads and concurrent password hashing are bounded, and Close
// ends what was started.
//
// Silence: secrets are kept as digests under a random key, and no error, log or
// formatting verb shows one.
//
// # Concurrency
//
// Every type is safe for concurrent use by multiple goroutines. A hit takes no
// lock and allocates nothing. The goroutines that exist are the loads in flight; a
// timer fires once a second while a group's caches hold entries, and one for each
// cache that loads, when a load is overdue.
package tokencache
