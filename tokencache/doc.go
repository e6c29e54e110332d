// Package tokencache answers whether a bearer token belongs to a service account,
// and remembers the answers. After an eviction returns, no new request gets an
// older answer.
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
// and serves the HTTP route. [Source] says how to write another source, and package
// tokentest checks it.
//
// # Words
//
// An [Account] is namespace/service. A [TokenID] is an account and a token's name. A
// [Secret] proves that its sender owns the token, and a [Token] is both. A [Selector]
// says what to evict. A [Source] holds the tokens, and a [Cache] remembers what one
// source said; its record type is what the source knows of a token. A [Group] is the
// caches that are forgotten together.
//
// A load asks a source about one token. An entry is what a cache remembers of one
// token. Evicting removes what a selector names, and clearing everything; an entry
// is displaced by another one that needs its room, and expires when its TTL ends.
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
// instant. If anybody has seen its effect, nobody who looks afterwards sees the
// state before it. The file evict.go has the argument.
//
// Exactness: an eviction removes what its selector names and nothing else. Its
// cost depends on what it removes, not on what the caches hold.
//
// One load: any number of concurrent callers with the same token cause one
// source read. A caller that gives up does not disturb the others. A source that
// panics or hangs harms only the calls that wait for it.
//
// Refusals: an error of a source is an error, never "refused", and is never
// remembered. A wrong secret for a remembered token is refused by that cache from
// memory. Another source of the group is asked about the name at most once in
// Config.AbsentTTL, if it says that it does not hold it.
//
// Bounds: entries, loads, strays, password hashes and all that waits are bounded,
// in total and for each account. Work beyond a bound fails with [ErrOverloaded].
//
// Silence: secrets are kept as digests under a random key, and no error, log or
// formatting verb shows one.
//
// # What is answered when
//
// Memory comes first: a source that is down or slow never holds up what another cache
// remembers. What a cache remembers of a token decides whether its source is asked:
//
//	what the cache remembers                its source is asked        if its source is down
//	the token, with this secret             no                         confirmed
//	the name, with another secret           no; the next source is     the same: it is not asked
//	that the source does not hold the name  no; the next source is     the same: it is not asked
//	nothing                                 yes                        no answer, and no further source is asked
//
// A caller's context bounds its wait for a load; Config.LoadTimeout bounds the load
// itself; GroupConfig.MaxWait bounds the wait for a turn to read or to hash.
//
// # Concurrency
//
// Every type is safe for concurrent use by multiple goroutines. A hit takes no
// lock and allocates nothing. Goroutines run for loads that read, for hashes and for
// strays, all of them bounded; a timer fires once a second while a group's caches hold
// entries, and when a load is overdue.
package tokencache
