package server

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/fleet"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/internal/eswire"
	"github.com/svctoken/svctoken/tokencache"
)

// A server answers the requests of operators and of service accounts.
type server struct {
	accounts   []tokencache.Account // that exist
	users      users
	group      *tokencache.Group
	file       *filesource.File
	fileCache  *tokencache.Cache[filesource.Record]
	index      Index
	source     *indexsource.Source // of the index
	indexState func() indexsource.State
	indexCache *tokencache.Cache[indexsource.Document]
	evictor    evict.Evictor
	fleet      *fleet.Node // nil: the server is alone
	maxWait    time.Duration
	proxies    proxies
	origins    []string // origins of pages that may send requests, besides this server's own
	guard      guard
	journal    journal // of what operators did, and of failed logins
	operation
	rates   rates
	node    node
	started time.Time
	version string // of Elasticsearch, as clients see it
	logger  *slog.Logger

	loginLines, evictionLines lineLimit // of the log
}

type node struct{ name, id string }

const clusterName = "svctoken"

type object map[string]any

// whoami tells callers their own name. The header is for proxies, which read no body.
func (s *server) whoami(w http.ResponseWriter, r *http.Request, c caller) {
	w.Header().Set("X-Svctoken-User", c.Name)
	if c.verdict == nil {
		eswire.Reply(w, r, http.StatusOK, identity(c.Name, "realm", object{"name": "operators", "type": "file"}))
		return
	}
	body := identity(c.Name, "token", object{"name": "_service_account", "type": "_service_account"})
	body["full_name"] = "Service account - " + c.Name
	token := object{"name": c.verdict.Token.Name, "type": "_service_account_" + c.verdict.Cache}
	if atLeast(s.version, 9, 4) {
		token["managed_by"] = "elasticsearch"
	}
	body["token"] = token
	body["metadata"] = object{"_elastic_service_account": true}
	eswire.Reply(w, r, http.StatusOK, body)
}

func identity(name, kind string, realm object) object {
	return object{
		"username": name, "roles": []string{}, "full_name": nil, "email": nil, "metadata": object{}, "enabled": true,
		"authentication_realm": realm, "lookup_realm": realm, "authentication_type": kind,
	}
}

// kindParams are the parameters that choose accounts by their kind, in the versions of
// Elasticsearch that have other kinds than the built-in one.
func (s *server) kindParams() []string {
	if atLeast(s.version, 9, 6) {
		return []string{"type", "managed_by"}
	}
	return nil
}

// The kinds of accounts, as the parameters of [server.kindParams] name them. All accounts
// here are built in.
var accountKinds = map[string][]string{"type": {"built_in", "user_managed"}, "managed_by": {"elastic", "elasticsearch", "user"}}

func checkKinds(_ http.ResponseWriter, r *http.Request) *eswire.Error {
	for param, kinds := range accountKinds {
		for kind := range strings.SplitSeq(r.URL.Query().Get(param), ",") {
			if kind != "" && !slices.Contains(kinds, kind) {
				return eswire.Illegal("unknown value for " + param + ": " + eswire.Bracket(kind) + ", must be among " + eswire.Bracket(strings.Join(kinds, ",")))
			}
		}
	}
	return nil
}

// asksBuiltIn reports whether a request asks for built-in accounts, alone or among
// others.
func asksBuiltIn(r *http.Request) bool {
	for param := range accountKinds {
		kinds := strings.Split(r.URL.Query().Get(param), ",")
		if !slices.ContainsFunc(kinds, func(kind string) bool { return !strings.HasPrefix(kind, "user") }) {
			return false
		}
	}
	return true
}

// serviceAccounts lists the accounts that exist, with their roles: all, those of a
// namespace, or one.
func (s *server) serviceAccounts(w http.ResponseWriter, r *http.Request, _ caller) {
	namespace, service := r.PathValue("namespace"), r.PathValue("service")
	body := object{}
	for _, account := range s.accounts {
		if !asksBuiltIn(r) || namespace != "" && namespace != account.Namespace || service != "" && service != account.Service {
			continue
		}
		entry := object{"role_descriptor": s.roleOf(account)}
		if atLeast(s.version, 9, 6) {
			entry["type"] = "built_in"
		}
		body[account.String()] = entry
	}
	eswire.Reply(w, r, http.StatusOK, body)
}

// checkAccount checks the names of the path.
func checkAccount(_ http.ResponseWriter, r *http.Request) *eswire.Error {
	account := tokenID(r).Account
	if name := account.Namespace + " " + account.Service; eswire.Redact(name) != name {
		return eswire.Illegal("the namespace or the service holds what begins as a bearer does")
	}
	if err := account.Validate(); err != nil {
		return eswire.Illegal(eswire.Plain(err))
	}
	return nil
}

// checkDelete refuses a name that seems to mean several tokens: the answer "not found"
// would read as if there were nothing to revoke.
func checkDelete(w http.ResponseWriter, r *http.Request) *eswire.Error {
	if err := checkRefresh(w, r); err != nil {
		return err
	}
	if name := tokenID(r).Name; strings.ContainsAny(name, "*?,") || name == "_all" || name == "" {
		return eswire.Illegal("tokens are deleted one by one, each by its name, and " + eswire.Bracket(name) + " is none; GET .../credential lists the names of an account")
	}
	return checkAccount(w, r)
}

// checkCreate checks the names of the path; the token's may be missing.
func checkCreate(w http.ResponseWriter, r *http.Request) *eswire.Error {
	if err := checkRefresh(w, r); err != nil {
		return err
	}
	id := tokenID(r)
	err := id.Account.Validate()
	if err == nil && id.Name != "" {
		err = id.Validate()
	}
	for _, name := range []string{id.Account.Namespace, id.Account.Service, id.Name} {
		if eswire.IsBearer(name) || err != nil && eswire.Redact(name) != name {
			err = errors.New("the name holds what begins as a bearer does: give a name, not a token")
		}
	}
	if err != nil {
		reason := "Validation Failed: 1: " + eswire.Plain(err) + ";"
		return &eswire.Error{Status: http.StatusBadRequest, Type: eswire.ValidationFailed, Reason: reason}
	}
	return nil
}

// checkRefresh checks the parameter that says when a search must find a change. Here that
// is at once.
func checkRefresh(_ http.ResponseWriter, r *http.Request) *eswire.Error {
	switch refresh := r.URL.Query().Get("refresh"); refresh {
	case "", "true", "false", "wait_for":
		return nil
	default:
		return eswire.Illegal("Unknown value for refresh: " + eswire.Bracket(refresh) + ".")
	}
}

// createToken creates a token in the index. Without a name it gets one.
func (s *server) createToken(w http.ResponseWriter, r *http.Request, c caller) {
	id := tokenID(r)
	if id.Name == "" {
		id.Name = "token_" + strings.ToLower(rand.Text())
	}
	if !s.known(id.Account) {
		eswire.Fail(w, r, eswire.Illegal("service account "+eswire.Bracket(id.Account.String())+" does not exist"))
		return
	}
	token, err := s.index.Create(indexsource.WithActor(r.Context(), c.Name), id, c.Name)
	switch {
	case err == nil:
		s.changed(r.Context(), c.Name, "created", id)
		w.Header().Set("Cache-Control", "no-store") // the answer has the secret
		eswire.Reply(w, r, http.StatusOK, object{"created": true, "token": object{"name": id.Name, "value": token.RevealBearer()}})
	case errors.Is(err, tokencache.ErrExists):
		s.metrics.ObserveChange("create", err)
		reason := eswire.Bracket(indexsource.DocumentID(id)) + ": version conflict, document already exists"
		eswire.Fail(w, r, &eswire.Error{Status: http.StatusConflict, Type: eswire.VersionConflict, Reason: reason})
	default:
		s.changeFailed(r.Context(), c.Name, "created", id.String(), err)
		failed(w, r, err)
	}
}

// deleteToken deletes a token of the index, which evicts it before it returns.
func (s *server) deleteToken(w http.ResponseWriter, r *http.Request, c caller) {
	id := tokenID(r)
	var err error = tokencache.ErrNotFound
	if id.Validate() == nil { // a name that breaks the rules is no token's, whatever the index says of it
		err = s.index.Delete(indexsource.WithActor(r.Context(), c.Name), id)
	}
	switch {
	case errors.Is(err, tokencache.ErrNotFound) && eswire.Redact(id.Name) != id.Name:
		eswire.Fail(w, r, eswire.Illegal("the name holds what begins as a bearer does: give the name of the token, not the token"))
	case errors.Is(err, tokencache.ErrNotFound):
		eswire.Reply(w, r, http.StatusNotFound, object{"found": false})
	case err != nil:
		s.changeFailed(r.Context(), c.Name, "deleted", id.String(), err)
		failed(w, r, err)
	default:
		s.changed(r.Context(), c.Name, "deleted", id)
		eswire.Reply(w, r, http.StatusOK, object{"found": true})
	}
}

func (s *server) stats(w http.ResponseWriter, r *http.Request, _ caller) {
	st := s.file.Status()
	file := object{"path": s.file.Path(), "tokens": st.Tokens, "loaded": st.Time, "changed": st.Changed, "error": nil}
	if st.Err != nil {
		file["error"] = st.Err.Error()
	}
	body := object{
		"authentications": s.group.Stats(),
		"caches":          object{"file": s.fileCache.Stats(), "index": s.indexCache.Stats()},
		"service_tokens":  file,
		"index":           s.indexObject(r.Context()),
	}
	if view := s.fleetView(); view != nil {
		body["fleet"] = view.object()
	}
	eswire.Reply(w, r, http.StatusOK, body)
}

// indexObject returns the index's condition in the form of the statistics.
func (s *server) indexObject(ctx context.Context) object {
	state, about := s.indexState(), s.index.Describe(ctx)
	index := object{"kind": about.Kind, "health": state.Health.String(), "revision": nil, "up_to_date": state.UpToDate, "uuid": state.UUID, "polled": nil, "error": nil}
	if about.Revision != "" {
		index["revision"] = about.Revision
	}
	if !about.Polled.IsZero() {
		index["polled"] = about.Polled
	}
	if about.Err != nil {
		index["error"] = about.Err.Error()
	}
	return index
}

// known reports whether the account exists.
func (s *server) known(account tokencache.Account) bool { return slices.Contains(s.accounts, account) }

// tokenID returns the token that the path names, unchecked.
func tokenID(r *http.Request) tokencache.TokenID {
	account := tokencache.Account{Namespace: r.PathValue("namespace"), Service: r.PathValue("service")}
	return account.TokenID(r.PathValue("name"))
}
