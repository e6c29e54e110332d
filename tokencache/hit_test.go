package tokencache_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/tokencache"
)

// variety is tokens whose names and secrets have many lengths: a hit cuts the
// bearer's base64 where the name ends, which may be within a character.
func variety(t testing.TB) []tokencache.Token {
	t.Helper()
	secret := strings.Repeat("0123456789:/abcdef", 4)
	var tokens []tokencache.Token
	for _, account := range []string{"a/b/", "a/bc/", "elastic/fleet-server/", strings.Repeat("n", 128) + "/" + strings.Repeat("s", 128) + "/"} {
		for _, name := range []string{"a", "b", "ab", "token1", "token2", "token10", strings.Repeat("t", 45), strings.Repeat("t", 60), strings.Repeat("t", 256)} {
			for i, n := range []int{22, 10, 21, 23, 32, 40, 60} {
				id := account + name
				if i > 0 {
					id += fmt.Sprintf("-%d", n)
				}
				if len(id) <= len(account)+256 {
					tokens = append(tokens, mustToken(t, id, secret[:n]))
				}
			}
		}
	}
	return tokens
}

// remembering is a group which has all of the tokens in memory. Its source knows
// nothing more, so that whatever is confirmed comes from memory.
func remembering(t testing.TB, tokens []tokencache.Token) *tokencache.Group {
	t.Helper()
	src := newTestSource(tokens...)
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c := newCache(t, g, "test", src, tokencache.Config{})
	for _, token := range tokens {
		if _, err := g.AuthenticateToken(t.Context(), token); err != nil {
			t.Fatal(err)
		}
	}
	for _, token := range tokens {
		src.remove(token.ID())
	}
	if entries := c.Stats().Entries; entries != len(tokens) {
		t.Fatalf("got %d entries, want %d", entries, len(tokens))
	}
	return g
}

// compareWithParsed checks that a header's value is answered like the token that
// ParseBearer makes of it: what decides is what the bearer says, not how a hit
// reads it.
func compareWithParsed(t *testing.T, g *tokencache.Group, bearer string) {
	t.Helper()
	got, gotErr := g.Authenticate(t.Context(), "Bearer "+bearer)
	token, wantErr := tokencache.ParseBearer(strings.TrimLeft(bearer, " "))
	var want tokencache.Verdict[any]
	if wantErr == nil {
		want, wantErr = g.AuthenticateToken(t.Context(), token)
	}
	if got != want || outcome(gotErr) != outcome(wantErr) {
		t.Errorf("%q:\ngot  %v, %v\nwant %v, %v", bearer, got, gotErr, want, wantErr)
	}
}

// TestHitReadsWhatParseBearerReads: each token is hit in each of its spellings,
// and no other spelling hits.
func TestHitReadsWhatParseBearerReads(t *testing.T) {
	tokens := variety(t)
	g := remembering(t, tokens)
	for _, token := range tokens {
		bearer := token.RevealBearer()
		padded := bearer + "==="[:(4-len(bearer)%4)%4]
		for _, spelling := range []string{bearer, padded, " " + bearer} {
			v, err := g.Authenticate(t.Context(), "Bearer "+spelling)
			if err != nil || v.Token != token.ID() {
				t.Errorf("%v: got %v, %v", token, v, err)
			}
		}
		for _, wrong := range []string{bearer + "=", bearer + "A", bearer + "\n", bearer[:len(bearer)-1], padded + "=", bearer[:5]} {
			compareWithParsed(t, g, wrong)
		}
		// Each character changed: in its first bit, its last, and to a foreign one.
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
		if len(bearer) > 300 {
			continue // long names differ in nothing but length
		}
		for i := range bearer {
			value := strings.IndexByte(alphabet, bearer[i])
			for _, c := range []byte{alphabet[value^1], alphabet[value^32], '-', 0} {
				compareWithParsed(t, g, bearer[:i]+string(c)+bearer[i+1:])
			}
		}
	}
}

// TestNoTwoNamesAreOne: tokens with the same secret, whose names differ in one
// place, are told apart from memory.
func TestNoTwoNamesAreOne(t *testing.T) {
	var tokens []tokencache.Token
	for _, length := range []int{1, 2, 3, 4, 5, 6} {
		for i := range length {
			for _, c := range "a89ABC-_" {
				name := strings.Repeat("b", i) + string(c) + strings.Repeat("b", length-i-1)
				if name[0] != '_' {
					tokens = append(tokens, mustToken(t, "elastic/fleet-server/"+name, "0123456789abcdef012345"))
				}
			}
		}
	}
	slices.SortFunc(tokens, func(a, b tokencache.Token) int { return strings.Compare(a.String(), b.String()) })
	tokens = slices.CompactFunc(tokens, func(a, b tokencache.Token) bool { return a.ID() == b.ID() })
	half := tokens[:0:0]
	for i, token := range tokens {
		if i%2 == 0 {
			half = append(half, token)
		}
	}
	g := remembering(t, half)
	for i, token := range tokens {
		v, err := g.Authenticate(t.Context(), header(token))
		if i%2 == 0 && (err != nil || v.Token != token.ID()) || i%2 == 1 && !errors.Is(err, tokencache.ErrRefused) {
			t.Errorf("%v: got %v, %v", token, v, err)
		}
	}
}

// TestHashesAreNotNames: two tokens whose names have the same hash, and which have
// the same secret, are told apart from memory.
func TestHashesAreNotNames(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c, err := tokencache.New(g, "test", open{}, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var pair []tokencache.Token
	seen := make(map[uint32]tokencache.TokenID)
	for i := 0; pair == nil; i++ { // of 2^16 some pair, most likely
		id := tokencache.TokenID{Account: fleet, Name: fmt.Sprintf("token-%08d", i)}
		hash := tokencache.HashOf(g, id)
		if other, ok := seen[hash]; ok {
			for _, id := range []tokencache.TokenID{id, other} {
				pair = append(pair, mustToken(t, id.String(), "0123456789abcdef012345"))
			}
		}
		seen[hash] = id
	}
	for round := range 2 {
		for _, token := range pair {
			v, err := g.Authenticate(t.Context(), header(token))
			if err != nil || v.Token != token.ID() || v.FromMemory != (round == 1) {
				t.Errorf("%v: got %+v, %v", token, v, err)
			}
		}
	}
	g.Evict(t.Context(), tokencache.CauseAsked, named(t, fleet, pair[0].ID().Name))
	if v, err := g.Authenticate(t.Context(), header(pair[1])); err != nil || !v.FromMemory {
		t.Errorf("after an eviction of the other: got %+v, %v", v, err)
	}
}

func FuzzAuthenticate(f *testing.F) {
	tokens := variety(f)
	g := remembering(f, tokens)
	for _, token := range tokens {
		f.Add(token.RevealBearer())
	}
	f.Fuzz(func(t *testing.T, bearer string) { compareWithParsed(t, g, bearer) })
}

// TestTheMarkComesLast: a token is changed while it is answered for, at each moment
// at which the host is asked whether it knows the account. Nothing answers then that
// was remembered before.
func TestTheMarkComesLast(t *testing.T) {
	old, renewed := mustToken(t, "elastic/fleet-server/token1", "supersecret"), mustToken(t, "elastic/fleet-server/token1", "other-secret")
	for _, test := range []struct {
		name          string
		held, then    []tokencache.Token // what the source holds, before the change and after it
		asked         tokencache.Token
		before, after string // the outcomes without the change, and with it
	}{
		{"a hit", []tokencache.Token{old}, nil, old, "ok", "refused"},
		{"a wrong secret", []tokencache.Token{old}, []tokencache.Token{renewed}, renewed, "refused", "ok"},
		{"an absence", nil, []tokencache.Token{old}, old, "refused", "ok"},
	} {
		for _, cause := range []tokencache.Cause{tokencache.CauseAsked, tokencache.CauseSource} {
			t.Run(test.name+", "+cause.String(), func(t *testing.T) {
				for moment, changed := 1, true; changed; moment++ {
					src, calls := newTestSource(test.held...), 0
					change := func() {}
					g := tokencache.NewGroup(tokencache.GroupConfig{KnownAccount: func(tokencache.Account) bool {
						if calls++; calls == moment {
							change()
						}
						return true
					}})
					c := newCache(t, g, "test", src, tokencache.Config{})
					c.Authenticate(t.Context(), header(old))
					calls, changed = 0, false
					change = func() {
						changed = true
						src.remove(old.ID())
						for _, token := range test.then {
							src.set(token)
						}
						c.Evict(t.Context(), cause, named(t, fleet, "token1"))
					}
					_, err := c.Authenticate(t.Context(), header(test.asked))
					want := test.before
					if changed {
						want = test.after
					}
					if outcome(err) != want || moment == 1 && !changed {
						t.Errorf("call %d of KnownAccount, changed: %v; got %v, want %s", moment, changed, err, want)
					}
				}
			})
		}
	}
}
