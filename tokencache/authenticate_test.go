package tokencache_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

func TestGroupAsksInOrder(t *testing.T) {
	inFile := mustToken(t, "elastic/fleet-server/token1", "file-secret")
	inIndex := mustToken(t, "elastic/fleet-server/token1", "index-secret") // the same name, both work
	inBoth := mustToken(t, "elastic/fleet-server/both", "supersecret")
	onlyIndex := mustToken(t, "elastic/fleet-server/index", "supersecret")
	p := newPair(t)
	p.fileSrc.set(inFile)
	p.fileSrc.set(inBoth)
	for _, token := range []tokencache.Token{inIndex, inBoth, onlyIndex} {
		p.indexSrc.set(token)
	}
	for range 3 {
		for _, test := range []struct {
			token tokencache.Token
			cache string
		}{{inFile, "file"}, {inIndex, "index"}, {inBoth, "file"}, {onlyIndex, "index"}} {
			for name, authenticate := range map[string]func() (tokencache.Verdict[any], error){
				"header": func() (tokencache.Verdict[any], error) {
					return p.group.Authenticate(t.Context(), header(test.token))
				},
				"token": func() (tokencache.Verdict[any], error) {
					return p.group.AuthenticateToken(t.Context(), test.token)
				},
			} {
				v, err := authenticate()
				if err != nil || v.Cache != test.cache || v.Token != test.token.ID() || v.Record != (record{1}) {
					t.Errorf("%v by %s: got %+v, %v, want it from %q", test.token, name, v, err, test.cache)
				}
			}
		}
		_, err := p.group.AuthenticateToken(t.Context(), mustToken(t, "elastic/fleet-server/token1", "wrong-secret"))
		if !errors.Is(err, tokencache.ErrRefused) {
			t.Errorf("a wrong secret: got %v", err)
		}
	}
	if got := p.indexSrc.loadsOf(inBoth.ID()); got != 0 {
		t.Errorf("the second source was asked %d times for a token that the first confirms", got)
	}
}

func TestAnErrorEndsIt(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	p := newPair(t, token)
	outage := errors.New("outage")
	p.fileSrc.before = func(context.Context, tokencache.TokenID) error { return outage }
	if _, err := p.group.Authenticate(t.Context(), header(token)); !errors.Is(err, outage) {
		t.Errorf("got %v, want the outage", err)
	}
	if got := p.indexSrc.loadsOf(token.ID()); got != 0 {
		t.Errorf("the next source was asked %d times", got)
	}
}

func TestAuthorizationHeader(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	p := newPair(t, token)
	bearer := token.RevealBearer()
	for _, value := range []string{"Bearer " + bearer, "bearer " + bearer, "BEARER  " + bearer, "bEaReR " + bearer + "="} {
		if strings.HasSuffix(value, "=") != (len(bearer)%4 == 3) && strings.HasSuffix(value, "=") {
			continue // padding must complete the last four
		}
		for range 2 { // a miss, then a hit
			if _, err := p.group.Authenticate(t.Context(), value); err != nil {
				t.Errorf("%q: %v", value, err)
			}
		}
	}
	for _, value := range []string{"", "Bearer", "Bearer ", "Basic " + bearer, bearer, "Bearer\t" + bearer, "Bearers " + bearer, "Bearer " + bearer + " ", "ApiKey x"} {
		if _, err := p.group.Authenticate(t.Context(), value); !errors.Is(err, tokencache.ErrNotServiceToken) {
			t.Errorf("%q: got %v, want ErrNotServiceToken", value, err)
		}
	}
	short := "Bearer " + encode("\x00\x01\x00\x01elastic/fleet-server/token1:short")
	if _, err := p.group.Authenticate(t.Context(), short); !errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("a short secret: got %v, want ErrRefused", err)
	}
	if _, err := p.group.AuthenticateToken(t.Context(), tokencache.Token{}); !errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("the zero token: got %v, want ErrRefused", err)
	}
	if got := p.fileSrc.loadsOf(token.ID()); got != 1 {
		t.Errorf("got %d source reads, want 1", got)
	}
}

func TestLongBearer(t *testing.T) {
	long := strings.Repeat("x", 128)
	for _, n := range []int{10, 39, 40, 111, 112, 113, 500, 1024} {
		token := mustToken(t, long+"/"+long+"/"+long+long, strings.Repeat("s", n))
		wrong := mustToken(t, long+"/"+long+"/"+long+long, strings.Repeat("s", n-1)+"t")
		p := newPair(t, token)
		for range 2 {
			if _, err := p.group.Authenticate(t.Context(), header(token)); err != nil {
				t.Errorf("%d: %v", n, err)
			}
			if _, err := p.group.Authenticate(t.Context(), header(wrong)); !errors.Is(err, tokencache.ErrRefused) {
				t.Errorf("%d, wrong: %v", n, err)
			}
		}
	}
}

// TestMaxSecret: of the secrets that a short name leaves room for in the longest
// bearer, those above the bound are refused before a source is asked.
func TestMaxSecret(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{MaxSecret: 20})
	src := newTestSource()
	newCache(t, g, "test", src, tokencache.Config{AbsentTTL: -1})
	for _, test := range []struct {
		length int
		want   tokencache.Reason
	}{
		{9, tokencache.ReasonSecretLength},
		{10, tokencache.ReasonUnknownToken},
		{20, tokencache.ReasonUnknownToken},
		{21, tokencache.ReasonSecretLength},
		{400, tokencache.ReasonSecretLength},
		{4000, tokencache.ReasonSecretLength},
	} {
		secret := strings.Repeat("s", test.length)
		_, err := g.Authenticate(t.Context(), "Bearer "+encode("\x00\x01\x00\x01a/b/c:"+secret))
		if reasonOf(err) != test.want {
			t.Errorf("%d bytes in a header: got %v, want %v", test.length, err, test.want)
		}
		if test.length < 10 {
			continue // no token can be made of it
		}
		if _, err := g.AuthenticateToken(t.Context(), mustToken(t, "a/b/c", secret)); reasonOf(err) != test.want {
			t.Errorf("%d bytes in a token: got %v, want %v", test.length, err, test.want)
		}
	}
	if got := src.loadsOf(tokencache.TokenID{Account: tokencache.Account{Namespace: "a", Service: "b"}, Name: "c"}); got != 4 {
		t.Errorf("the source was asked %d times, want 4", got)
	}
}

func TestKnownAccount(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	known := true
	g := tokencache.NewGroup(tokencache.GroupConfig{KnownAccount: func(a tokencache.Account) bool { return known && a == fleet }})
	src := newTestSource(token)
	newCache(t, g, "test", src, tokencache.Config{})
	other := mustToken(t, "elastic/other/token1", "supersecret")
	src.set(other)
	if _, err := g.Authenticate(t.Context(), header(other)); !errors.Is(err, tokencache.ErrRefused) || src.loadsOf(other.ID()) != 0 {
		t.Errorf("an unknown account: got %v after %d source reads", err, src.loadsOf(other.ID()))
	}
	if _, err := g.Authenticate(t.Context(), header(token)); err != nil {
		t.Error(err)
	}
	known = false // the host drops the account: what is remembered does not help
	if _, err := g.Authenticate(t.Context(), header(token)); !errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("an account that the host dropped: got %v", err)
	}
}

// TestMayHold: a source that says that it does not hold a token is not asked; it may
// gain the token at any time. What is remembered comes before all sources.
func TestMayHold(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	first := &holder{testSource: newTestSource()}
	newCache(t, g, "first", first, tokencache.Config{})
	newCache(t, g, "second", newTestSource(token), tokencache.Config{})
	expect := func(cache string) {
		t.Helper()
		if v, err := g.Authenticate(t.Context(), header(token)); err != nil || v.Cache != cache {
			t.Errorf("got %+v, %v, want it from %q", v, err, cache)
		}
	}
	expect("second")
	expect("second")
	if got := first.loadsOf(token.ID()); got != 0 {
		t.Errorf("the first source was asked %d times", got)
	}
	first.set(token)
	expect("second") // from memory
	g.Evict(t.Context(), tokencache.CauseAsked, all(t, fleet))
	expect("first")
	expect("first")
	if got := first.loadsOf(token.ID()); got != 1 {
		t.Errorf("the first source was asked %d times, want 1", got)
	}
}

// A holder knows its tokens.
type holder struct{ *testSource }

func (h *holder) MayHold(id tokencache.TokenID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.tokens[id]
	return ok
}
