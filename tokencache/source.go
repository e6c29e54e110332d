package tokencache

import (
	"context"
	"time"
)

// A Source holds the tokens. It answers slowly, and it may fail; a
// [Cache] remembers what it says. R is its record: what it knows of a token,
// handed to the host with the verdict.
//
// All methods must be safe for concurrent use by multiple goroutines.
//
// A source that knows the ids of its tokens without asking anybody should also be
// a [Holder]. One that changes, and knows when, keeps its caches in a
// [Subscribers].
type Source[R any] interface {
	// Lookup says what the source knows of the token of this id. Absence is the
	// zero Answer and no error. If the source cannot tell, it returns an error,
	// which must not contain a secret: it reaches the callers, wrapped in a
	// [*NoAnswerError], and nothing is remembered.
	//
	// Any number of calls may run at once. The context carries the values of the
	// caller that started the load, and a deadline of its own, Config.LoadTimeout;
	// Lookup must return soon after it is done. A panic is turned into an error.
	Lookup(ctx context.Context, id TokenID) (Answer[R], error)

	// Subscribe registers a cache that is to be told of every change from now on,
	// and returns a function that ends it. A source must first make the change
	// visible to Lookup, then call the Invalidator, and only then report the
	// change as done. It must not hold a lock that Lookup needs while it calls.
	// Creation and replacement are changes like others: a refusal may be
	// remembered, and a load in flight may have found nothing.
	//
	// A source which never changes, or which does not learn of changes, registers
	// nothing and returns a function that does nothing. Its changes are then in force
	// when the host evicts or when the TTL ends, a replaced secret included.
	Subscribe(Invalidator) (cancel func())
}

// An Answer is what a source says of a token id. The zero Answer says that it does
// not hold it.
type Answer[R any] struct {
	// Held reports whether the source has a token of this id. If it has not, the
	// rest does not matter, and the token is refused as far as this source goes.
	Held bool

	// Disabled reports that the token must not be used at present: it is refused.
	Disabled bool

	// Record is what the source knows of the token. It is shared by everyone who
	// authenticates with it, so it must not be changed afterwards, and it must
	// hold neither the secret nor its hash.
	Record R

	// Expires is when the token itself expires; the zero Time: never. A token past
	// it is refused, and no cache remembers it longer.
	Expires time.Time

	// Verify reports whether a secret is the token's, typically by computing its
	// password hash, and compares in constant time. It cannot fail, and must not
	// keep the Secret, whose bytes are overwritten afterwards. The group bounds how
	// many of these calls run at once, unless Fast is set.
	Verify func(Secret) bool

	// Fast reports that Verify and Previous.Verify are cheap by the form of their
	// hashes: one SHA-2, as for a generated secret, which needs no stretching. They
	// are called at once, without a turn, and are not counted as hashing.
	Fast bool

	// Previous is the secret that was the token's until it was rotated, and is good
	// beside the present one for a while. The cache remembers both. While it
	// remembers one of them only, another secret is not refused from memory. A nil
	// Verify: no other secret is good. A source must not accept a second secret in
	// any other way: a cache that remembers one secret refuses all others.
	Previous struct {
		Verify  func(Secret) bool
		Expires time.Time // when it ceases to be good; the zero Time: not before it is replaced
	}

	// Ask takes Verify's place for a source that does not have the hash, but asks
	// another service about the secret. It may fail as Lookup may, has Lookup's
	// context, and does not count as hashing.
	Ask func(context.Context, Secret) (bool, error)
}

// A Holder is a [Source] that can say at once, without blocking, that it does not
// hold a token. It is a shortcut for tokens which are not in memory: if MayHold reports
// false, the source is not asked. MayHold must report true if it cannot tell.
type Holder interface {
	MayHold(id TokenID) bool
}

// An Invalidator is what a source calls when its tokens have changed: the side of a
// [Cache] that its source sees. Sources say why; hosts evict with [Group.Evict]. When a
// method returns, what it selects has been forgotten, loads in flight included. The
// methods return how many live entries went, never wait for a source, and are safe for
// concurrent use by multiple goroutines. The context carries values to the observer;
// its end does not matter.
type Invalidator interface {
	// Evict forgets the selected tokens, all at one instant.
	Evict(ctx context.Context, why Cause, sels ...Selector) int
	// Clear forgets everything.
	Clear(ctx context.Context, why Cause) int
}

// A Cause is why something was evicted.
type Cause int

const (
	CauseAsked  Cause = iota // somebody asked for it
	CauseSource              // the source's tokens have changed
	CauseState               // the state of the source has changed, its index was replaced for example
	CauseClosed              // the cache was closed
	CauseNode                // another node asked for it
)

// String returns one word for the cause, as metrics label it.
func (c Cause) String() string {
	switch c {
	case CauseAsked:
		return "asked"
	case CauseSource:
		return "source"
	case CauseState:
		return "state"
	case CauseClosed:
		return "closed"
	case CauseNode:
		return "node"
	default:
		return "unknown"
	}
}
