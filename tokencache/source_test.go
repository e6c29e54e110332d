package tokencache_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/svctoken/svctoken/tokencache"
)

// A record is what the test source knows of a token: the version of the entry
// that confirmed it.
type record struct{ Version int }

// testSource is a source in memory. Set and remove change it without telling
// its caches; forget tells them.
type testSource struct {
	mu     sync.Mutex
	tokens map[tokencache.TokenID]stored
	caches tokencache.Subscribers
	loads  map[tokencache.TokenID]int

	// before and after, if set, run inside Lookup, before and after it reads.
	before, after func(context.Context, tokencache.TokenID) error
	// verify, if set, takes the place of the comparison.
	verify func(tokencache.Secret) bool
	fast   bool // what Answer.Fast says
}

type stored struct {
	secret  tokencache.Secret
	version int
}

func newTestSource(tokens ...tokencache.Token) *testSource {
	s := &testSource{
		tokens: make(map[tokencache.TokenID]stored),
		loads:  make(map[tokencache.TokenID]int),
	}
	for _, t := range tokens {
		s.set(t)
	}
	return s
}

func (s *testSource) set(t tokencache.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[t.ID()] = stored{t.Secret(), s.tokens[t.ID()].version + 1}
}

func (s *testSource) remove(id tokencache.TokenID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, id)
}

func (s *testSource) loadsOf(id tokencache.TokenID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads[id]
}

func (s *testSource) subscribers() int { return s.caches.Len() }

func (s *testSource) read(id tokencache.TokenID) (stored, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads[id]++
	t, ok := s.tokens[id]
	return t, ok
}

func (s *testSource) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	if s.before != nil {
		if err := s.before(ctx, id); err != nil {
			return tokencache.Answer[record]{}, err
		}
	}
	known, ok := s.read(id)
	if s.after != nil {
		if err := s.after(ctx, id); err != nil {
			return tokencache.Answer[record]{}, err
		}
	}
	if !ok {
		return tokencache.Answer[record]{}, nil
	}
	verify := s.verify
	if verify == nil {
		verify = known.secret.Equal
	}
	return tokencache.Answer[record]{Held: true, Record: record{known.version}, Verify: verify, Fast: s.fast}, nil
}

func (s *testSource) Subscribe(inv tokencache.Invalidator) (cancel func()) { return s.caches.Add(inv) }

var fleet = tokencache.Account{Namespace: "elastic", Service: "fleet-server"}

// mustToken returns the token of a qualified name and a secret.
func mustToken(t testing.TB, qualified, secret string) tokencache.Token {
	t.Helper()
	id, err := tokencache.ParseTokenID(qualified)
	if err != nil {
		t.Fatal(err)
	}
	token, err := tokencache.NewToken(id, tokencache.NewSecret(secret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// header returns the value of the Authorization header for a token.
func header(token tokencache.Token) string { return "Bearer " + token.RevealBearer() }

// newCache returns a cache that the test closes at its end.
func newCache(t testing.TB, g *tokencache.Group, name string, src tokencache.Source[record], cfg tokencache.Config) *tokencache.Cache[record] {
	t.Helper()
	c, err := tokencache.New(g, name, src, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		c.Wait(context.Background())
	})
	return c
}

// solo returns a cache that is alone in its group, and that the test closes at its end.
func solo(t testing.TB, src tokencache.Source[record], cfg tokencache.Config) *tokencache.Cache[record] {
	t.Helper()
	return newCache(t, tokencache.NewGroup(tokencache.GroupConfig{}), "test", src, cfg)
}

// all returns the selector of every token of an account.
func all(t testing.TB, a tokencache.Account) tokencache.Selector {
	t.Helper()
	sel, err := a.SelectAll()
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

// named returns the selector of some tokens of an account.
func named(t testing.TB, a tokencache.Account, names ...string) tokencache.Selector {
	t.Helper()
	sel, err := a.Select(names...)
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

// check authenticates and compares the outcome: "ok", "refused" or "error".
func check(t testing.TB, c interface {
	AuthenticateToken(context.Context, tokencache.Token) (tokencache.Verdict[record], error)
}, token tokencache.Token, want string) {

	t.Helper()
	v, err := c.AuthenticateToken(t.Context(), token)
	if got := outcome(err); got != want {
		t.Errorf("%v: got %s (%v), want %s", token, got, err, want)
	}
	if err == nil && v.Token != token.ID() {
		t.Errorf("%v: got a verdict for %v", token, v.Token)
	}
}
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, tokencache.ErrRefused):
		return "refused"
	default:
		return "error"
	}
}

// statsDiff compares the counters that the test names.
func statsDiff(got, want tokencache.Stats) string { return cmp.Diff(want, got) }

// gate is a hook for testSource that holds loads until it is opened.
type gate struct{ open chan struct{} }

func newGate() gate { return gate{make(chan struct{})} }

func (g gate) pass(ctx context.Context, _ tokencache.TokenID) error {
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// async authenticates in the background; the result can be received once.
func async(ctx context.Context, c *tokencache.Cache[record], token tokencache.Token) <-chan result {
	ch := make(chan result, 1)
	go func() {
		v, err := c.AuthenticateToken(ctx, token)
		ch <- result{v.Record.Version, err}
	}()
	return ch
}

type result struct {
	version int
	err     error
}

type ctxKey struct{}

// begin authenticates in the background, and returns once the load cannot go on.
func begin(t *testing.T, c *tokencache.Cache[record], name, secret string) <-chan result {
	t.Helper()
	ch := async(t.Context(), c, mustToken(t, name, secret))
	synctest.Wait()
	return ch
}

// expect checks what came of a request.
func expect(t *testing.T, ch <-chan result, want error) {
	t.Helper()
	r := <-ch
	if want == nil && r.err != nil || !errors.Is(r.err, want) {
		t.Errorf("got %v, want %v", r.err, want)
	}
}

// asked is a source that is a function.
type asked func(context.Context, tokencache.TokenID) (tokencache.Answer[record], error)

func (a asked) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[record], error) {
	return a(ctx, id)
}

func (asked) Subscribe(tokencache.Invalidator) (cancel func()) { return func() {} }

var errOutage = errors.New("outage")

func (s *testSource) fail() {
	s.before = func(context.Context, tokencache.TokenID) error { return errOutage }
}

// reasonOf returns the reason of an error.
func reasonOf(err error) tokencache.Reason {
	if refused, ok := errors.AsType[*tokencache.RefusedError](err); ok {
		return refused.Reason
	}
	if noAnswer, ok := errors.AsType[*tokencache.NoAnswerError](err); ok {
		return noAnswer.Reason
	}
	return 0
}
