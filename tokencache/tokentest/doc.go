// Package tokentest helps to test code that uses tokencache, as net/http/httptest
// does for net/http, and checks implementations of tokencache.Source and
// indexsource.Index.
//
// For most uses, make a [Source] which does what the test says, and a [Kit] with a
// group, a cache for the source, and an evictor. All of it works in a bubble of
// testing/synctest, where time is the test's own: the group has to be made there. An
// expiry takes five lines:
//
//	var src tokentest.Source[string]
//	kit := tokentest.New(t, tokencache.Config{TTL: time.Hour}, &src)
//	token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
//	src.Put(token, "the record")
//	kit.Group.AuthenticateToken(t.Context(), token)
//	time.Sleep(time.Hour)
//	kit.Group.AuthenticateToken(t.Context(), token) // src.Reads() is 2
//
// # Conformance
//
// [RunSource] and [RunIndex] check each promise of an implementation in a subtest
// with an instance of its own. A [Backend] says how to change what it reads.
//
//	Absence             an unknown token is the zero Answer, and no error
//	Confirmation        what was created is held, and its secret confirmed
//	WrongSecret         no other secret is
//	ExactName           a token answers for its own name alone
//	Removal             a deleted token is absent
//	Replacement         a new secret takes the old one's place
//	Secrets             an old secret is good only in Previous, and beside the new one alone
//	Disabling           a disabled token is refused until it is enabled
//	Records             neither a change nor a lookup writes to an earlier record
//	OwnRecord           an answer has the record of its own token
//	KeptSecret          Verify does not keep the secret
//	Holder              MayHold denies nothing that Lookup would find
//	Notice              a change is reported as done when the caches have been told
//	Overlap             so are two changes at once
//	ChangeBeforeNotice  the caches are told when Lookup shows the change
//	NoLock              Lookup works while the caches are told
//	EverySubscriber     each of several caches is told
//	EndOfSubscription   a cache that ends its subscription is told nothing more, others are
//	Concurrency         Lookup answers right while others look up and change
//	Memory              a cache confirms what was created, and again from memory
//	Freshness           through a cache, a change is in force when it is done
//	Errors              an outage is an error without an answer, and is not remembered
//	Context             Lookup returns soon after its context is done
//	Silence             no error and no record shows a secret or a hash
//
// And for an index:
//
//	Documents           Get returns the right document, with its hash
//	Listing             List returns the documents that Get does
//	EverySource         each of several sources is told
//	EndOfWatch          a source is told nothing once it has ended its watch
//	Rotation            a rotation keeps the old secret for its grace, and is noted
//	Expiry              an answer says when the token expires, as it was last set
//	LastUse             the latest use of a token is kept, and is no change
package tokentest
