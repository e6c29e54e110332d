package tokencache

import "context"

// A Source is where tokens really live. It answers slowly, and it may fail; a
// [Cache] remembers what it says. R is its record: what it knows of a token that
// matched, handed to the host with the verdict. A record is shared by everyone
// who authenticates with that token, so it must not be changed after Lookup has
// returned it, and it must hold neither the secret nor its hash.
//
// All methods must be safe for concurrent use by multiple goroutines.
//
// A source that keeps the ids of its tokens in memory may also have the method
//
//	MayHold(TokenID) bool
//
// which reports, at once and without blocking, whether the source could know
// the token at this moment. Where it reports false, no load is started: the
// token is refused as far as this source is concerned. It spares the second
// cache of a [Group] a visit to the first source for each of its own tokens.
type Source[R any] interface {
	// Lookup returns what the source knows of the token.
	//
	//   - It knows the token by its hash: the record, the hash's Verifier, nil.
	//     The cache asks the Verifier, within the group's bound on password
	//     hashing.
	//   - It has no such token, or the token may not be used: any record, a nil
	//     Verifier, nil. The token is refused.
	//   - It cannot tell: an error, which must not contain the secret. It reaches
	//     the callers, wrapped, and nothing is remembered.
	//
	// Any number of calls may run at once, but only one for a given token and
	// secret. The context carries the values of the caller that started the load,
	// and a deadline of its own; Lookup must return soon after it is done. A panic
	// is turned into an error.
	Lookup(ctx context.Context, token Token) (R, Verifier, error)

	// Subscribe registers a cache that is to be told of every change from now on,
	// and returns a function that ends it. A source must first make the change
	// visible to Lookup, then call the Invalidator, and only then report the
	// change as done. It must not hold a lock that Lookup needs while it calls.
	// A source which never changes, or which cannot know, registers nothing and
	// returns a function that does nothing.
	Subscribe(Invalidator) (cancel func())
}

// A Verifier knows how to check a secret, typically against a password hash.
type Verifier interface {
	// Verify reports whether the secret matches, comparing in constant time. It
	// may take long, cannot fail, and is safe for concurrent use by multiple
	// goroutines.
	Verify(Secret) bool
}

// An Invalidator is the side of a [Cache] that its source sees: the hooks to
// call when tokens have changed. Both have taken effect when they return, for
// loads in flight too, and both return how many live entries went. They never
// wait for a source, and are safe for concurrent use by multiple goroutines.
type Invalidator interface {
	// Clear forgets everything.
	Clear() int
	// Evict forgets the selected tokens, all at one instant.
	Evict(...Selector) int
}
