package tokencache_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

// variety is tokens whose names and secrets have many lengths: a hit cuts the
// bearer's base64 where the name ends, which may be within a character.
func variety(t testing.TB) []tokencache.Token {
	t.Helper()
	secret := strings.Repeat("0123456789:/abcdef", 4)
	colons := strings.Repeat(":", 11) // where a damaged name may seem to end in one of them
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
			if len(name) < 60 {
				tokens = append(tokens, mustToken(t, account+name+"_", colons))
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

// longestBearer is how long a bearer is whose names are the longest, and whose secret is
// as long as GroupConfig.MaxSecret allows by default.
var longestBearer = base64.StdEncoding.EncodedLen(4 + 128 + 1 + 128 + 1 + 256 + 1 + 1024)

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
	if cut := strings.TrimLeft(bearer, " "); len(cut) > longestBearer && strings.HasPrefix(cut, "AAEAA") {
		wantErr = &tokencache.RefusedError{Reason: tokencache.ReasonSecretLength} // before it is decoded, so even if it cannot be
	}
	if got != want || outcome(gotErr) != outcome(wantErr) || reasonOf(gotErr) != reasonOf(wantErr) {
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
// the same secret, are told apart from memory. One time their accounts are the same, and
// one time their names.
func TestHashesAreNotNames(t *testing.T) {
	for _, id := range []func(int) tokencache.TokenID{
		func(i int) tokencache.TokenID { return fleet.TokenID(fmt.Sprintf("token-%08d", i)) },
		func(i int) tokencache.TokenID {
			return tokencache.Account{Namespace: "elastic", Service: fmt.Sprintf("service-%08d", i)}.TokenID("token")
		},
	} {
		hashesAreNotNames(t, id)
	}
}

func hashesAreNotNames(t *testing.T, id func(int) tokencache.TokenID) {
	t.Helper()
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	c, err := tokencache.New(g, "test", open{}, tokencache.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var pair []tokencache.Token
	seen := make(map[uint32]tokencache.TokenID)
	for i := 0; pair == nil; i++ { // of 2^16 some pair, most likely
		hash := tokencache.HashOf(g, id(i))
		if other, ok := seen[hash]; ok {
			for _, id := range []tokencache.TokenID{id(i), other} {
				pair = append(pair, mustToken(t, id.String(), "0123456789abcdef012345"))
			}
		}
		seen[hash] = id(i)
	}
	for round := range 2 {
		for _, token := range pair {
			v, err := g.Authenticate(t.Context(), header(token))
			if err != nil || v.Token != token.ID() || v.FromMemory != (round == 1) {
				t.Errorf("%v: got %+v, %v", token, v, err)
			}
		}
	}
	g.Evict(t.Context(), named(t, pair[0].ID().Account, pair[0].ID().Name))
	if v, err := g.Authenticate(t.Context(), header(pair[1])); err != nil || !v.FromMemory {
		t.Errorf("after an eviction of the other: got %+v, %v", v, err)
	}
	other := mustToken(t, pair[0].ID().String(), "another-secret-of-22-b")
	if v, err := g.Authenticate(t.Context(), header(other)); err != nil || v.Token != other.ID() || v.FromMemory {
		t.Errorf("another secret, which the source confirms: got %+v, %v", v, err)
	}
}

func FuzzAuthenticate(f *testing.F) {
	tokens := variety(f)
	g := remembering(f, tokens)
	for _, token := range tokens {
		f.Add(token.RevealBearer())
	}
	f.Add(tokens[0].RevealBearer() + strings.Repeat("\xeb", longestBearer))
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

// TestWrongSecretInAGroup: in a group of two caches a wrong secret for a cached token
// costs the other source one read in AbsentTTL, and none while that source is down.
func TestWrongSecretInAGroup(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	p := newPair(t)
	p.fileSrc.set(token)
	if _, err := p.group.AuthenticateToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	authenticate := func() error {
		_, err := p.group.Authenticate(t.Context(), header(mustToken(t, "elastic/fleet-server/token1", "wrong-secret")))
		return err
	}
	for range 5 {
		err := authenticate()
		if refused, ok := errors.AsType[*tokencache.RefusedError](err); !ok || refused.Reason != tokencache.ReasonWrongSecret || refused.Token != token.ID() {
			t.Errorf("got %v, want a wrong secret", err)
		}
		p.indexSrc.before = func(context.Context, tokencache.TokenID) error { return errors.New("outage") }
	}
	if got := p.indexSrc.loadsOf(token.ID()); got != 1 {
		t.Errorf("the other source was read %d times, want once", got)
	}
}

func TestCacheRemembers(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	src := newTestSource(token)
	c := solo(t, src, tokencache.Config{})
	for i := range 3 {
		v, err := c.Authenticate(t.Context(), header(token))
		if err != nil {
			t.Fatal(err)
		}
		want := tokencache.Verdict[record]{Token: token.ID(), Cache: "test", Record: record{Version: 1}, FromMemory: i > 0}
		if diff := cmp.Diff(want, v); diff != "" {
			t.Errorf("verdict (-want +got):\n%s", diff)
		}
	}
	if diff := statsDiff(c.Stats(), tokencache.Stats{Hits: 2, Misses: 1, Loads: 1, Stored: 1, Entries: 1}); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func TestWrongSecretIsRefusedFromMemory(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	wrong := mustToken(t, "elastic/fleet-server/token1", "wrong-secret")
	src := newTestSource(token)
	c := solo(t, src, tokencache.Config{})

	check(t, c, wrong, "refused") // from the source: nothing is known yet
	check(t, c, token, "ok")
	for range 5 {
		check(t, c, wrong, "refused")
	}
	check(t, c, token, "ok")
	if diff := statsDiff(c.Stats(), tokencache.Stats{Hits: 1, Mismatches: 5, Misses: 2, Loads: 2, Refusals: 1, Stored: 1, Entries: 1}); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

// TestManyCaches: the caches beyond the 64th answer as the others do.
func TestManyCaches(t *testing.T) {
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	var tokens []tokencache.Token
	for i := range 70 {
		tokens = append(tokens, mustToken(t, fmt.Sprintf("elastic/fleet-server/t%d", i), "supersecret"))
		newCache(t, g, fmt.Sprint(i), newTestSource(tokens[i]), tokencache.Config{})
	}
	for range 2 {
		for i, token := range tokens {
			if v, err := g.Authenticate(t.Context(), header(token)); err != nil || v.Cache != fmt.Sprint(i) {
				t.Errorf("%v: got %v, %v", token, v, err)
			}
			if _, err := g.Authenticate(t.Context(), header(mustToken(t, token.String(), "wrong-secret"))); !errors.Is(err, tokencache.ErrRefused) {
				t.Errorf("%v with a wrong secret: got %v", token, err)
			}
		}
	}
}

// TestHitDoesNotAllocate: whether or not digests are read from the hash's state,
// which takes an allocation of crypto/sha256 under the race detector.
func TestHitDoesNotAllocate(t *testing.T) {
	for _, secret := range []string{"0123456789abcdefghijkl", "supersecret", strings.Repeat("s", 80)} {
		token := mustToken(t, "elastic/fleet-server/token1", secret)
		if !raceDetector {
			hitDoesNotAllocate(t, token)
		}
		tokencache.WithoutState(func() { hitDoesNotAllocate(t, token) })
	}
}

func hitDoesNotAllocate(t *testing.T, token tokencache.Token) {
	t.Helper()
	g := tokencache.NewGroup(tokencache.GroupConfig{KnownAccount: func(tokencache.Account) bool { return true }})
	first := newCache(t, g, "first", absent{newTestSource()}, tokencache.Config{})
	second := newCache(t, g, "second", newTestSource(token), tokencache.Config{})
	authorization := header(token)
	for name, authenticate := range map[string]func() error{
		"cache": func() error { _, err := second.Authenticate(t.Context(), authorization); return err },
		"group": func() error { _, err := g.Authenticate(t.Context(), authorization); return err },
	} {
		if err := authenticate(); err != nil {
			t.Fatal(err)
		}
		if allocs := testing.AllocsPerRun(1000, func() { authenticate() }); allocs != 0 {
			t.Errorf("%s: a hit allocates %v times", name, allocs)
		}
	}
	if got := first.Stats().Loads; got != 0 {
		t.Errorf("the first cache loaded %d times, want 0: its source says that it does not hold the token", got)
	}
}

// TestHitTakesNoLock hits while the mutex under which everything changes is held.
func TestHitTakesNoLock(t *testing.T) {
	for _, secret := range []string{"0123456789abcdefghijkl", "supersecret", strings.Repeat("s", 80)} {
		hitTakesNoLock(t, mustToken(t, "elastic/fleet-server/token1", secret))
	}
}

func hitTakesNoLock(t *testing.T, token tokencache.Token) {
	t.Helper()
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	newCache(t, g, "first", absent{newTestSource()}, tokencache.Config{})
	second := newCache(t, g, "second", newTestSource(token), tokencache.Config{})
	wrong := mustToken(t, "elastic/fleet-server/token1", strings.Repeat("w", token.Secret().Len()))
	check(t, second, token, "ok")
	tokencache.WithMutexHeld(g, func() {
		for range 100 {
			if _, err := g.Authenticate(t.Context(), header(token)); err != nil {
				t.Error(err)
			}
			check(t, second, token, "ok")
			check(t, second, wrong, "refused")
			if _, err := g.Authenticate(t.Context(), header(wrong)); reasonOf(err) != tokencache.ReasonWrongSecret {
				t.Errorf("got %v", err)
			}
		}
	})
}

// absent is a source which knows that it holds nothing.
type absent struct{ *testSource }

func (absent) MayHold(tokencache.TokenID) bool { return false }

// TestHitOfTheSecondCache costs no read, and works while the first source is down.
// A wrong secret for the token costs the first source one read for each AbsentTTL.
func TestHitOfTheSecondCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, wrong := mustToken(t, "a/a/a", "supersecret"), mustToken(t, "a/a/a", "wrong-secret")
		p := newPair(t)
		p.indexSrc.set(token)
		if v, err := p.group.Authenticate(t.Context(), header(token)); err != nil || v.Cache != "index" || v.FromMemory {
			t.Errorf("got %+v, %v, want it from the second source", v, err)
		}
		p.group.Evict(t.Context(), named(t, fleet, "another"))
		p.fileCache.Clear(t.Context(), tokencache.CauseSource)
		p.fileSrc.fail()
		for range 20 {
			if v, err := p.group.Authenticate(t.Context(), header(token)); err != nil || v.Cache != "index" || !v.FromMemory {
				t.Fatalf("got %+v, %v", v, err)
			}
		}
		p.fileSrc.before = nil
		for round := range 3 {
			for range 20 {
				if _, err := p.group.Authenticate(t.Context(), header(wrong)); reasonOf(err) != tokencache.ReasonWrongSecret {
					t.Errorf("got %v", err)
				}
			}
			if got := p.fileSrc.loadsOf(token.ID()); got != round+2 {
				t.Errorf("the first source was read %d times, want %d", got, round+2)
			}
			time.Sleep(5 * time.Second)
		}
		if got := p.indexSrc.loadsOf(token.ID()); got != 1 {
			t.Errorf("the second source was read %d times, want 1", got)
		}
	})
}

// TestMoveWhileRefusedFromMemory: the first source gains a token whose absence is
// remembered. An authentication has seen the absence right before the eviction, and
// finds that the second source does not hold the token, which has moved by then.
func TestMoveWhileRefusedFromMemory(t *testing.T) {
	token := mustToken(t, "elastic/fleet-server/token1", "supersecret")
	g := tokencache.NewGroup(tokencache.GroupConfig{})
	first, second := newTestSource(), &movingHolder{holder: holder{newTestSource(token)}}
	c := newCache(t, g, "first", first, tokencache.Config{})
	newCache(t, g, "second", second, tokencache.Config{})
	check(t, c, token, "refused")
	first.set(token)
	looks, moved := make(chan struct{}), make(chan struct{})
	second.before = func() { close(looks); <-moved }
	type answer struct {
		v   tokencache.Verdict[any]
		err error
	}
	answers := make(chan answer)
	tokencache.EvictInSteps(g, tokencache.CauseSource, named(t, fleet, "token1"),
		func() {
			go func() {
				v, err := g.Authenticate(t.Context(), header(token))
				answers <- answer{v, err}
			}()
			<-looks
		},
		func() {
			second.remove(token.ID())
			close(moved)
			if a := <-answers; a.err != nil || a.v.Cache != "first" {
				t.Errorf("got %+v, %v, want it from the first cache: it was always held", a.v, a.err)
			}
		})
}
