package tokencache_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// TestBearersAreNoNames: a name that begins as every bearer does is refused from people,
// with an error that does not repeat it, and works for a source that holds it.
func TestBearersAreNoNames(t *testing.T) {
	bearer := mustToken(t, "elastic/fleet-server/token1", "supersecret").RevealBearer()
	for _, id := range []tokencache.TokenID{
		{Account: fleet, Name: bearer},
		{Account: fleet, Name: "AAEAA"},
		{Account: fleet, Name: bearer + "+/"},
		{Account: fleet, Name: bearer + strings.Repeat("A", 300)},
		{Account: tokencache.Account{Namespace: bearer, Service: "b"}, Name: "c"},
		{Account: tokencache.Account{Namespace: "a", Service: bearer}, Name: "c"},
		{Account: tokencache.Account{Namespace: "a", Service: bearer + "="}, Name: "c"},
	} {
		_, selectErr := id.Account.Select("good", id.Name)
		for what, err := range map[string]error{"ValidateNew": id.ValidateNew(), "Select": selectErr} {
			nameErr, ok := errors.AsType[*tokencache.NameError](err)
			if !ok || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, nameErr), "AAEAAW") {
				t.Errorf("%s: got %v", what, err)
			}
		}
	}
	held := fleet.TokenID(bearer)
	src := newTestSource()
	token, err := tokencache.NewToken(held, tokencache.NewSecret("supersecret"))
	if err != nil {
		t.Fatal(err)
	}
	src.set(token)
	c := solo(t, src, tokencache.Config{})
	check(t, c, token, "ok")
	if _, err := c.Authenticate(t.Context(), header(token)); err != nil {
		t.Error(err)
	}
	if id, err := tokencache.ParseTokenID(held.String()); err != nil || id != held {
		t.Errorf("got %v, %v", id, err)
	}
	sel, err := held.Select()
	if err != nil || !sel.Selects(held) {
		t.Fatalf("got %v, %v", sel, err)
	}
	if n := c.Evict(t.Context(), tokencache.CauseSource, sel); n != 1 {
		t.Errorf("an eviction took %d entries, want 1", n)
	}
}
