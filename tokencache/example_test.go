package tokencache_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/svctoken/svctoken/tokencache"
)

// A static source knows one token and never changes.
type static struct{ token tokencache.Token }

func (s static) Lookup(_ context.Context, id tokencache.TokenID) (tokencache.Answer[string], error) {
	if id != s.token.ID() {
		return tokencache.Answer[string]{}, nil
	}
	return tokencache.Answer[string]{Held: true, Record: "the only one", Verify: s.token.Secret().Equal}, nil
}

func (static) Subscribe(tokencache.Invalidator) (cancel func()) { return func() {} }

func Example() {
	token, err := tokencache.ParseBearer("AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA")
	if err != nil {
		fmt.Println(err)
		return
	}
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	cache, err := tokencache.New(group, "static", static{token}, tokencache.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx := context.Background()
	for range 2 {
		verdict, err := group.Authenticate(ctx, "Bearer "+token.RevealBearer())
		fmt.Println(verdict.Token, verdict.Cache, verdict.Record, err)
	}
	fmt.Println("hits:", cache.Stats().Hits, "loads:", cache.Stats().Loads)

	selector, err := token.ID().Account.Select("token1", "token2")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("evicted:", group.Evict(context.Background(), selector))
	// Output:
	// elastic/fleet-server/token1 static the only one <nil>
	// elastic/fleet-server/token1 static the only one <nil>
	// hits: 1 loads: 1
	// evicted: map[static:1]
}

func ExampleGroup_Authenticate() {
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "static", static{}, tokencache.Config{}); err != nil {
		fmt.Println(err)
		return
	}

	for _, authorization := range []string{
		"Basic b3BlcmF0b3I6cGFzc3dvcmQ=",
		"Bearer AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA",
	} {
		_, err := group.Authenticate(context.Background(), authorization)
		switch {
		case err == nil:
			fmt.Println("welcome")
		case errors.Is(err, tokencache.ErrNotServiceToken):
			fmt.Println("try another scheme:", err)
		case errors.Is(err, tokencache.ErrRefused):
			fmt.Println("401:", err) // the log may say why, the client should not be told
		default:
			fmt.Println("503:", err)
			if e, ok := errors.AsType[*tokencache.NoAnswerError](err); ok && e.RetryAfter > 0 {
				fmt.Println("Retry-After:", e.RetryAfter)
			}
		}
	}
	// Output:
	// try another scheme: tokencache: not a service token: the scheme is not Bearer
	// 401: tokencache: token refused: elastic/fleet-server/token1: unknown_token
}

func ExampleAccount_Select() {
	account := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	selector, err := account.Select("b", "a", "b")
	fmt.Println(selector, err)

	_, err = account.Select("tok*")
	fmt.Println(err)
	// Output:
	// elastic/fleet-server/a,b <nil>
	// tokencache: invalid token name "tok*": must be 1 to 256 of A-Z a-z 0-9 _ -, not beginning with _
}

func ExampleSecret() {
	secret := tokencache.NewSecret("supersecret")
	fmt.Printf("%v %s %q %#v %d\n", secret, secret, secret, secret, secret)
	fmt.Println(secret.Equal(tokencache.NewSecret("supersecret")))
	// Output:
	// [redacted] [redacted] [redacted] [redacted] [redacted]
	// true
}

// remote is a source that asks another service about a secret, which has no hash to
// hand out, and which knows of no other account.
type remote struct{ static }

var _ tokencache.Holder = remote{}

func (s remote) MayHold(id tokencache.TokenID) bool { return id.Account == s.token.ID().Account }

func (s remote) Lookup(_ context.Context, id tokencache.TokenID) (tokencache.Answer[string], error) {
	return tokencache.Answer[string]{
		Held:    id == s.token.ID(),
		Expires: time.Now().Add(time.Hour), // no cache remembers it longer
		Ask: func(ctx context.Context, secret tokencache.Secret) (bool, error) {
			return secret.Equal(s.token.Secret()), ctx.Err()
		},
	}, nil
}

func ExampleAnswer() {
	token, err := tokencache.ParseBearer("AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA")
	if err != nil {
		log.Fatal(err)
	}
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	cache, err := tokencache.New(group, "remote", remote{static{token}}, tokencache.Config{})
	if err != nil {
		log.Fatal(err)
	}
	group.AuthenticateToken(context.Background(), token)
	_, until, ok := cache.Remembers(token.ID())
	fmt.Println(ok, time.Until(until) <= time.Hour)
	// Output: true true
}

// The zero Config is the recommended setting. This one has every option, for a source
// that is slow, fails at times, and does not tell of its changes.
func ExampleConfig() {
	group := tokencache.NewGroup(tokencache.GroupConfig{
		MaxHashing: 2,               // the machine has other work to do
		MaxWait:    3 * time.Second, // then tell the client to come back
		MaxQueue:   1000,
		MaxSecret:  128,
		KnownAccount: func(account tokencache.Account) bool {
			return account.Namespace == "elastic"
		},
	})
	defer group.Close()
	_, err := tokencache.New(group, "remote", static{}, tokencache.Config{
		TTL:          time.Minute,      // for how long a revoked token may stay good
		Jitter:       5 * time.Second,  // so that not all are loaded again at once
		MaxEntries:   10_000,           // of successes
		AbsentTTL:    -1,               // a new token must work at once
		LoadTimeout:  2 * time.Second,  // of one read, and of one hash
		MaxLoads:     64,               // that the source can take at once
		MaxBackoff:   time.Second,      // after failures
		ServeStale:   10 * time.Minute, // an outage must not lock clients out
		StaleWait:    time.Second / 2,  // nor let them wait for long
		RefreshAhead: 10 * time.Second, // callers must not wait at an expiry
		HideNames:    false,            // refusals may be quick
	})
	fmt.Println(err)
	// Output: <nil>
}

// What a host does with an error depends on its reason only when it counts or logs.
func ExampleReason() {
	describe := func(reason tokencache.Reason) string {
		switch reason {
		case tokencache.ReasonUnknownToken, tokencache.ReasonWrongSecret, tokencache.ReasonSecretLength:
			return "a client with a wrong token, or an attack"
		case tokencache.ReasonUnknownAccount:
			return "an account that this host does not serve"
		case tokencache.ReasonDisabled, tokencache.ReasonExpired:
			return "a token whose time is over"
		case tokencache.ReasonSourceFailed, tokencache.ReasonSourceTimeout, tokencache.ReasonUnavailable:
			return "an outage of the source"
		case tokencache.ReasonSourcePanicked:
			return "a bug in the source"
		case tokencache.ReasonOverloaded, tokencache.ReasonGaveUp:
			return "too much at once"
		case tokencache.ReasonLapsed, tokencache.ReasonClosed:
			return "this node does not serve"
		default:
			return "confirmed"
		}
	}
	fmt.Println(describe(tokencache.ReasonWrongSecret))
	fmt.Println(describe(tokencache.ReasonUnavailable))
	// Output:
	// a client with a wrong token, or an attack
	// an outage of the source
}

// An observer hears of what is rare: it may log each event.
func ExampleEvent() {
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(_ context.Context, ev tokencache.Event) {
		switch ev.Kind {
		case tokencache.EventLoad:
			fmt.Println(ev.Kind, ev.Cache, ev.Token, ev.Reason, ev.Err)
		case tokencache.EventEviction:
			if ev.Cause == tokencache.CauseClosed || ev.Cause == tokencache.CauseNode || ev.Cause == tokencache.CauseState {
				return // nothing that somebody asked for here
			}
			fmt.Println(ev.Kind, ev.Cause, ev.Selectors, ev.Evicted)
		case tokencache.EventDisplacement:
			fmt.Println(ev.Kind, ev.Cache, ev.Count)
		case tokencache.EventOverload:
			fmt.Println(ev.Kind, ev.Cache, ev.Reason)
		}
	}})
	defer group.Close()
	sel, err := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.SelectAll()
	if err != nil {
		log.Fatal(err)
	}
	group.Evict(context.Background(), sel)
	// Output: eviction asked [elastic/fleet-server/*] map[]
}

// The words of events are types too, for those who keep tables of them.
func ExampleEventKind() {
	byKind := map[tokencache.EventKind]tokencache.Cause{tokencache.EventEviction: tokencache.CauseSource}
	fmt.Println(byKind)
	// Output: map[eviction:source]
}

func ExampleGroup_Stats() {
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	if _, err := tokencache.New(group, "file", static{}, tokencache.Config{}); err != nil {
		log.Fatal(err)
	}
	group.Authenticate(context.Background(), "Basic dXNlcjpwYXNz")

	st := group.Stats()
	fmt.Println("answered", st.Confirmed+st.Refused+st.NotServiceTokens)
	fmt.Println("no answer", st.NoAnswer+st.Overloaded+st.Closed+st.GaveUp+st.Lapsed)
	fmt.Println("hashes", st.Hashing, "and waiting", st.Waiting)
	for name, st := range group.Caches() {
		fmt.Println(name, "remembers", st.Entries, "after", st.Stored, "stored and", st.Refreshed, "refreshed")
		fmt.Println("  from memory:", st.Hits+st.Stale, "confirmed,", st.Mismatches+st.Absent, "refused; asked:", st.Misses)
		fmt.Println("  loads:", st.Loads, "of which", st.Refusals, "refused,", st.Errors, "failed,", st.Discarded, "discarded")
		fmt.Println("  now:", st.Loading, "reading,", st.Waiting, "waiting,", st.Abandoned, "overdue")
		fmt.Println("  gone:", st.Evicted, "evicted,", st.Expired, "expired,", st.Displaced, "displaced")
	}
	// Output:
	// answered 1
	// no answer 0
	// hashes 0 and waiting 0
	// file remembers 0 after 0 stored and 0 refreshed
	//   from memory: 0 confirmed, 0 refused; asked: 0
	//   loads: 0 of which 0 refused, 0 failed, 0 discarded
	//   now: 0 reading, 0 waiting, 0 overdue
	//   gone: 0 evicted, 0 expired, 0 displaced
}

func ExampleNameError() {
	err := tokencache.Account{Namespace: "elastic", Service: "fleet server"}.Validate()
	if nameErr, ok := errors.AsType[*tokencache.NameError](err); ok {
		fmt.Printf("%s %q %s\n", nameErr.Field, nameErr.Input, nameErr.Rule)
	}
	// Output: service "fleet server" must be 1 to 128 of A-Z a-z 0-9 _ -, beginning with a letter or digit
}

func ExampleSelector() {
	account := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	some, err := account.Select("token1", "token2")
	if err != nil {
		log.Fatal(err)
	}
	for _, sel := range []tokencache.Selector{some, {}} {
		fmt.Println(sel.All(), sel.Selects(account.TokenID("token1")), sel.Selects(account.TokenID("token10")))
	}
	// Output:
	// false true false
	// false false false
}

// A closed group, like one whose sources are down, refuses nobody: it has no answer.
func ExampleGroup_Close() {
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	if _, err := tokencache.New(group, "file", static{}, tokencache.Config{}); err != nil {
		log.Fatal(err)
	}
	group.Close()
	verdict, err := group.Authenticate(context.Background(), "Bearer AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA")
	fmt.Println(errors.Is(err, tokencache.ErrClosed), errors.Is(err, tokencache.ErrOverloaded), errors.Is(err, tokencache.ErrRefused), verdict.Stale)
	// Output: true false false false
}

func ExampleSubscribers() {
	var caches tokencache.Subscribers // a field of the source
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	cache, err := tokencache.New(group, "table", static{}, tokencache.Config{})
	if err != nil {
		log.Fatal(err)
	}
	cancel := caches.Add(cache) // in Subscribe
	fmt.Println(caches.Len(), caches.Clear(context.Background(), tokencache.CauseSource))
	cancel()
	fmt.Println(caches.Len())
	// Output:
	// 1 0
	// 0
}

// A source that hands a secret on, or hashes it, has to reveal it.
func ExampleSecret_Reveal() {
	secret := tokencache.NewSecret("supersecret")
	fmt.Println(secret, secret.Len(), strings.ToUpper(secret.Reveal()))
	// Output: [redacted] 11 SUPERSECRET
}

// A source whose tokens are rotated says which secret was good before, and until when.
func ExampleAnswer_rotated() {
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	is := func(want string) func(tokencache.Secret) bool {
		return func(got tokencache.Secret) bool { return got.Equal(tokencache.NewSecret(want)) }
	}
	source := lookup(func(tokencache.TokenID) tokencache.Answer[string] {
		a := tokencache.Answer[string]{Held: true, Verify: is("the new secret"), Fast: true}
		a.Previous.Verify = is("the old secret")
		a.Previous.Expires = time.Now().Add(time.Hour)
		return a
	})
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	cache, err := tokencache.New(group, "rotated", source, tokencache.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, secret := range []string{"the new secret", "the old secret", "another secret"} {
		token, _ := tokencache.NewToken(id, tokencache.NewSecret(secret))
		_, err := cache.AuthenticateToken(context.Background(), token)
		fmt.Println(secret, err)
	}
	// Output:
	// the new secret <nil>
	// the old secret <nil>
	// another secret tokencache: token refused: elastic/fleet-server/token1: wrong_secret
}

// lookup is a source that never changes.
type lookup func(tokencache.TokenID) tokencache.Answer[string]

func (l lookup) Lookup(_ context.Context, id tokencache.TokenID) (tokencache.Answer[string], error) {
	return l(id), nil
}

func (lookup) Subscribe(tokencache.Invalidator) (cancel func()) { return func() {} }

// Sources wrap the sentinels, and hosts branch on them.
func ExampleSentinel() {
	status := func(err error) int {
		for sentinel, status := range map[tokencache.Sentinel]int{
			tokencache.ErrNotFound: 404, tokencache.ErrExists: 409, tokencache.ErrClosed: 503,
		} {
			if errors.Is(err, sentinel) {
				return status
			}
		}
		return 500
	}
	fmt.Println(status(fmt.Errorf("delete elastic/fleet-server/token1: %w", tokencache.ErrNotFound)))
	// Output: 404
}

// A form or a command checks what a person has typed: a bearer in a name's place is
// refused, and not repeated.
func ExampleTokenID_ValidateNew() {
	account := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	fmt.Println(account.ValidateNew())
	fmt.Println(account.TokenID("AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzZWNyZXQ").ValidateNew())
	// Output:
	// <nil>
	// tokencache: invalid token name: must not begin with AAEAA, as bearers do
}

// A log of evictions, as package fleet has one, claims the group: what it brings from
// other nodes is told apart, and a second one is an error.
func ExampleGroup_Claim() {
	group := tokencache.NewGroup(tokencache.GroupConfig{Observer: func(_ context.Context, ev tokencache.Event) { fmt.Println(ev.Cause) }})
	defer group.Close()
	claim, err := group.Claim()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer claim.Release()
	var node *tokencache.Claim = claim
	node.Clear(context.Background())
	group.Invalidator().Clear(context.Background(), tokencache.CauseState) // of a source that all caches have
	_, err = group.Claim()
	fmt.Println(err)
	// Output:
	// node
	// state
	// tokencache: the group has been claimed already, by another node of a fleet
}

// Which tokens were used since the last call, and about when.
func ExampleCache_Used() {
	id := tokencache.Account{Namespace: "elastic", Service: "fleet-server"}.TokenID("token1")
	token, _ := tokencache.NewToken(id, tokencache.GenerateSecret())
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	cache, err := tokencache.New(group, "static", static{token}, tokencache.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := cache.AuthenticateToken(context.Background(), token); err != nil {
		fmt.Println(err)
		return
	}
	for id, last := range cache.Used() {
		fmt.Println(id, time.Since(last) < 2*time.Minute)
	}
	// Output: elastic/fleet-server/token1 true
}
