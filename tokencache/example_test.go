package tokencache_test

import (
	"context"
	"errors"
	"fmt"

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
	fmt.Println("evicted:", group.Evict(context.Background(), tokencache.CauseAsked, selector))
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
