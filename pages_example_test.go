package svctoken_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/fleet/fleetlog"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
	"github.com/svctoken/svctoken/tokencache/tokenhash"
	"github.com/svctoken/svctoken/tokencache/tokenhttp"
	"github.com/svctoken/svctoken/tokencache/tokenlog"
	"github.com/svctoken/svctoken/tokencache/tokentest"
)

// The blocks of docs/quickstart.md, each in a function that has what it needs.

var _ = func(path string) (*tokencache.Group, error) {
	file, err := filesource.Open(path, filesource.Config{})
	if err != nil {
		return nil, err // lists every bad line
	}
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	if _, err := tokencache.New(group, "file", file, tokencache.Config{}); err != nil {
		return nil, err
	}
	return group, nil
}

var _ = func(ctx context.Context, file *filesource.File, account tokencache.Account) error {
	token, err := file.Create(ctx, account.TokenID("token1")) // tokencache.Account{Namespace: "elastic", Service: "fleet-server"}
	if err != nil {
		return err
	}
	fmt.Println(token.RevealBearer()) // give it to the client: it cannot be read again
	return nil
}

var _ = func(mux *http.ServeMux, group *tokencache.Group, things http.Handler) {
	mux.Handle("/things/", tokenhttp.Wrap(group, things, tokenhttp.Config{}))
}

var _ = func(ctx context.Context, group *tokencache.Group, authorization string) (account string, err error) {
	verdict, err := group.Authenticate(ctx, authorization) // the header's value
	switch {
	case err == nil:
		return verdict.Token.Account.String(), nil
	case errors.Is(err, tokencache.ErrNotServiceToken): // try your other schemes
	case errors.Is(err, tokencache.ErrRefused): // 401
	default: // no answer at present: 503
	}
	return "", err
}

var _ = func(ctx context.Context, group *tokencache.Group, file *filesource.File, account tokencache.Account) error {
	if err := file.Delete(ctx, account.TokenID("token1")); err != nil { // gone from the file, and from the caches
		return err
	}
	report, err := evict.New(group).Evict(ctx, "elastic", "fleet-server", "*") // or: only forgotten, and asked for again
	_ = report
	return err
}

// The blocks of docs/embedding.md, likewise.

var _ = func(group *tokencache.Group, app, users http.Handler) http.Handler {
	handler := tokenhttp.Wrap(group, app, tokenhttp.Config{
		Other:      users, // gets requests without a service token
		Challenges: []string{`Basic realm="security"`},
	})
	return handler
}

var _ = func(metrics func(context.Context, tokencache.Event)) *tokencache.Group {
	logs := tokenlog.New(tokenlog.Config{})
	group := tokencache.NewGroup(tokencache.GroupConfig{
		Observer: func(ctx context.Context, ev tokencache.Event) {
			logs.Observe(ctx, ev)
			metrics(ctx, ev)
		},
	})
	return group
}

// The blocks of docs/sources.md, likewise; those of a source are at the end of this file.

// keys are those of one account.
type keys struct {
	group   *tokencache.Group
	account tokencache.Account
}

// Authenticate reads "Bearer key_NAME.SECRET", as the keys of this host look.
func (k keys) Authenticate(ctx context.Context, authorization string) (tokencache.Verdict[any], error) {
	key, ok := strings.CutPrefix(authorization, "Bearer key_")
	if !ok {
		return k.group.Authenticate(ctx, authorization) // in the wire form, or ErrNotServiceToken
	}
	name, secret, _ := strings.Cut(key, ".")
	token, err := tokencache.NewToken(k.account.TokenID(name), tokencache.NewSecret(secret))
	if err != nil {
		return tokencache.Verdict[any]{}, fmt.Errorf("%w: %w", tokencache.ErrRefused, err)
	}
	return k.group.AuthenticateToken(ctx, token)
}

var _ tokenhttp.Authenticator = keys{}

var _ = func(server *http.Server, group *tokencache.Group, file *filesource.File) {
	stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(stop); err != nil { // the requests first: they need the group
		server.Close()
	}
	group.Close() // at once; loads in flight are told by their contexts
	if err := group.Wait(stop); err != nil {
		slog.Warn("a source ignores its context", "err", err)
	}
	file.Close() // the sources last
}

var _ = func(ctx context.Context, file *filesource.File, account tokencache.Account, deliver func(string)) error {
	token, err := file.Create(ctx, account.TokenID("2026-12"))
	if err != nil && !errors.Is(err, filesource.ErrNotDurable) {
		return err
	}
	deliver(token.RevealBearer()) // it cannot be read again
	// ... when the clients have it:
	return file.Delete(ctx, account.TokenID("2026-11"))
}

var _ = func(ctx context.Context, index *indexsource.Memory, account tokencache.Account, deliver func(string)) error {
	token, err := index.Rotate(ctx, account.TokenID("ci"), 24*time.Hour, "operator")
	if err != nil {
		return err
	}
	deliver(token.RevealBearer()) // it cannot be read again; the old one is good for a day
	return nil
}

// The block of docs/options.md.

var _ = func(group *tokencache.Group, source tokencache.Source[user]) (*tokencache.Cache[user], error) {
	cache, err := tokencache.New(group, "index", source, tokencache.Config{
		TTL:        time.Minute,      // the source reports no changes
		AbsentTTL:  -1,               // and a new token must work at once
		ServeStale: 15 * time.Minute, // an outage must not lock clients out
	})
	return cache, err
}

func TestPageExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var src tokentest.Source[string]
		kit := tokentest.New(t, tokencache.Config{TTL: time.Hour}, &src)
		token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
		src.Put(token, "the record")
		kit.Group.AuthenticateToken(t.Context(), token)
		time.Sleep(time.Hour)
		kit.Group.AuthenticateToken(t.Context(), token)
		if src.Reads() != 2 {
			t.Errorf("got %d reads, want 2", src.Reads())
		}
	})
}

// A user and a store are what a host has already.
type user struct{ Name string }

type row struct {
	user   user
	verify func(tokencache.Secret) bool
}

type store struct {
	caches tokencache.Subscribers
	rows   map[tokencache.TokenID]row
}

var _ tokencache.Source[user] = (*store)(nil)

func (s *store) query(_ context.Context, id tokencache.TokenID) (row, bool, error) {
	r, ok := s.rows[id]
	return r, ok, nil
}

func (s *store) remove(_ context.Context, id tokencache.TokenID) error {
	delete(s.rows, id)
	return nil
}

// Lookup is all that is left of get, compare and add.
func (s *store) Lookup(ctx context.Context, id tokencache.TokenID) (tokencache.Answer[user], error) {
	row, ok, err := s.query(ctx, id)
	if err != nil || !ok {
		return tokencache.Answer[user]{}, err // an outage is an error; absence is not an error
	}
	return tokencache.Answer[user]{Held: true, Record: row.user, Verify: row.verify}, nil
}

// Subscribe keeps the caches that are to be told.
func (s *store) Subscribe(cache tokencache.Invalidator) (cancel func()) { return s.caches.Add(cache) }

// Revoke makes the change visible first, and tells the caches before it returns.
func (s *store) Revoke(ctx context.Context, id tokencache.TokenID) error {
	if err := s.remove(ctx, id); err != nil {
		return err
	}
	sel, err := id.Select()
	if err != nil {
		return err
	}
	s.caches.Evict(ctx, tokencache.CauseSource, sel)
	return nil
}

func TestPageStore(t *testing.T) {
	token := tokentest.NewToken(t, "elastic/fleet-server/token1", "")
	s := &store{rows: map[tokencache.TokenID]row{token.ID(): {user{"fleet"}, token.Secret().Equal}}}
	kit := tokentest.New(t, tokencache.Config{}, s)
	if v, err := kit.Caches[0].AuthenticateToken(t.Context(), token); err != nil || v.Record.Name != "fleet" {
		t.Fatalf("got %+v, %v", v, err)
	}
	if err := s.Revoke(t.Context(), token.ID()); err != nil {
		t.Fatal(err)
	}
	if _, err := kit.Group.AuthenticateToken(t.Context(), token); !errors.Is(err, tokencache.ErrRefused) {
		t.Errorf("after Revoke: got %v, want ErrRefused", err)
	}
}

// An engine is an index of our own.
type engine struct {
	watchers indexsource.Watchers
	docs     sync.Map // of indexsource.Document, by tokencache.TokenID
}

// Get returns the document of a token: absence is not an error.
func (e *engine) Get(ctx context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	return e.read(ctx, id)
}

// Watch keeps the sources that are told of changes.
func (e *engine) Watch(source *indexsource.Source) (cancel func()) { return e.watchers.Add(source) }

// changed is called when the engine shows a change of one token.
func (e *engine) changed(id tokencache.TokenID) {
	for source := range e.watchers.All() {
		source.DocumentChanged(id)
	}
}

// healthy is called when the engine says how it is. The source decides what that means
// for its caches.
func (e *engine) healthy(state indexsource.State) {
	for source := range e.watchers.All() {
		source.StateChanged(state)
	}
}

func newEngine() *engine { return new(engine) }

func (e *engine) read(_ context.Context, id tokencache.TokenID) (indexsource.Document, bool, error) {
	doc, ok := e.docs.Load(id)
	if !ok {
		return indexsource.Document{}, false, nil
	}
	return doc.(indexsource.Document), true, nil
}

func (e *engine) create(_ context.Context, id tokencache.TokenID) (tokencache.Token, error) {
	token, err := tokencache.NewToken(id, tokencache.GenerateSecret())
	if err != nil {
		return tokencache.Token{}, err
	}
	e.docs.Store(id, indexsource.Document{Token: id, Enabled: true, Hash: tokenhash.New(token.Secret())})
	e.changed(id)
	return token, nil
}

func (e *engine) delete(_ context.Context, id tokencache.TokenID) error {
	e.docs.Delete(id)
	e.changed(id)
	return nil
}

var _ = (*engine).healthy

var _ = func(group *tokencache.Group, e *engine) error {
	_, err := tokencache.New(group, "index", indexsource.New(e), tokencache.Config{})
	return err
}

func TestEngine(t *testing.T) {
	tokentest.RunIndex(t, func(testing.TB) (indexsource.Index, tokentest.Backend) {
		e := newEngine()
		return e, tokentest.Backend{Create: e.create, Delete: e.delete}
	})
}

// The block of docs/in-front.md.

var _ = func(group *tokencache.Group) {
	ok := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verdict, _ := tokenhttp.Verdict(r.Context())
		w.Header().Set("X-Svctoken-User", verdict.Token.Account.String())
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:9201", tokenhttp.Wrap(group, ok, tokenhttp.Config{})))
}

// A block of docs/fleet.md; those that open a log are in the modules of the logs.

var _ = func(ctx context.Context, mux *http.ServeMux, log fleetlog.Log, hostname string, authenticate func(*http.Request) (evict.User, bool, error)) error {
	group := tokencache.NewGroup(tokencache.GroupConfig{})
	defer group.Close()
	node, err := fleet.New(log, group, fleet.Config{Name: hostname})
	if err != nil {
		return err
	}
	defer node.Close() // nobody waits for this node then
	if _, err := tokencache.New(group, "index", indexsource.New(node.Index()), tokencache.Config{}); err != nil {
		return err
	}
	if err := node.Ready(ctx); err != nil { // until then every authentication is an error
		return err
	}
	mux.Handle("/_security/service/", evict.NewHandler(node, authenticate, evict.HandlerConfig{})) // a *fleet.Node is an evict.Evictor
	return nil
}

// The blocks of docs/files.md, likewise.

var _ = func(group *tokencache.Group) error {
	file, err := filesource.Open("/etc/auth/service_tokens", filesource.Config{
		Logger: slog.Default(), // nil: silent
	})
	if err != nil {
		return err // bad lines, one a line, or why it cannot be read
	}
	defer file.Close()
	cache, err := tokencache.New(group, "file", file, tokencache.Config{})
	_ = cache
	return err
}

var _ = func(ctx context.Context, file *filesource.File, account tokencache.Account, deliver func(string)) error {
	token, err := file.Rotate(ctx, account.TokenID("ci"))
	switch {
	case errors.Is(err, tokencache.ErrNotFound):
		return err // nothing was changed
	case err != nil && token.Secret().Len() == 0:
		return err // likewise
	case err != nil:
		slog.Warn("the new secret may be in force or not", "err", err)
	}
	deliver(token.RevealBearer()) // it cannot be read again
	return nil
}

var _ = func(file *filesource.File) bool {
	st := file.Status()
	healthy := st.Err == nil && // or: time.Since(st.Failing) < time.Hour
		!st.Missing &&
		time.Since(st.Looked) < time.Minute // a network file system may hang
	return healthy
}
