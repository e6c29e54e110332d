package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/filesource"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/tokencache"
)

// A server answers the requests of operators and of service accounts.
type server struct {
	accounts   []tokencache.Account // that exist
	users      *users
	group      *tokencache.Group
	file       *filesource.File
	fileCache  *tokencache.Cache[filesource.Record]
	index      Index
	indexState func() indexsource.State
	indexCache *tokencache.Cache[indexsource.Document]
	evictor    *evict.Evictor
	journal    journal // of evictions
	node       node
	logger     *slog.Logger
}

type node struct{ name, id string }

const clusterName = "svctoken"

// handler returns the routes. The one that clears caches comes from the library,
// and goes round the mux, which would redirect its empty list of names.
//
// Browsers send an operator's credentials by themselves, also when the page of
// somebody else sends the request; the outermost handler refuses those.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_security/_authenticate", s.authenticate)

	const credential = "/_security/service/{namespace}/{service}/credential"
	accounts := s.users.require("manage_service_account", s.serviceAccounts)
	mux.HandleFunc("GET /_security/service", accounts)
	mux.HandleFunc("GET /_security/service/{namespace}", accounts)
	mux.HandleFunc("GET /_security/service/{namespace}/{service}", accounts)
	mux.HandleFunc("GET "+credential, s.users.require("manage_service_account", s.credentials))
	create := s.users.require("manage_service_account", s.createToken)
	mux.HandleFunc("POST "+credential+"/token", create)
	mux.HandleFunc("POST "+credential+"/token/{name}", create)
	mux.HandleFunc("PUT "+credential+"/token/{name}", create)
	mux.HandleFunc("DELETE "+credential+"/token/{name}", s.users.require("manage_service_account", s.deleteToken))
	clear := evict.NewHandler(s.evictor, s.users.authenticate, evict.HandlerConfig{
		ClusterName: clusterName, NodeID: s.node.id, NodeName: s.node.name,
		Audit: func(ctx context.Context, user evict.User, report evict.Report) { s.audit(ctx, user, report) },
	})

	mux.HandleFunc("GET /_stats", s.users.require("monitor", s.stats))
	mux.HandleFunc("GET /{$}", s.users.require("monitor", s.root))
	mux.HandleFunc("POST /{$}", s.users.require("manage_security", s.evictFromPage))

	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail(w, r, http.StatusForbidden, "security_exception", "the request comes from the page of another site")
	}))
	routes := sameOrigin.Handler(clear.Wrap(shaped(mux)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		routes.ServeHTTP(w, r)
	})
}

// authenticate tells callers who they are. For a service account this is what the
// library is for; what is not a service token may be another kind of credentials.
func (s *server) authenticate(w http.ResponseWriter, r *http.Request) {
	verdict, err := s.group.Authenticate(r.Context(), r.Header.Get("Authorization"))
	switch {
	case err == nil:
		realm := object{"name": "_service_account", "type": "_service_account"}
		account := verdict.Token.Account.String()
		body := identity(account, "token", realm)
		body["full_name"] = "Service account - " + account
		body["token"] = object{"name": verdict.Token.Name, "type": "_service_account_" + verdict.Cache}
		body["metadata"] = object{"_elastic_service_account": true}
		reply(w, r, http.StatusOK, body)
	case errors.Is(err, tokencache.ErrNotServiceToken):
		s.authenticateOperator(w, r, err)
	case errors.Is(err, tokencache.ErrRefused):
		unauthorized(w, r, err.Error())
	default:
		fail(w, r, http.StatusServiceUnavailable, "exception", err.Error())
	}
}

// authenticateOperator tells operators who they are; notToken is why the request has
// no service token. A failure to tell is no refusal.
func (s *server) authenticateOperator(w http.ResponseWriter, r *http.Request, notToken error) {
	user, ok, err := s.users.authenticate(r)
	switch {
	case err != nil:
		fail(w, r, http.StatusServiceUnavailable, "security_exception", err.Error())
	case !ok:
		unauthorized(w, r, notToken.Error())
	default:
		reply(w, r, http.StatusOK, identity(user.Name, "realm", object{"name": "operators", "type": "file"}))
	}
}

func identity(name, kind string, realm object) object {
	return object{
		"username": name, "roles": []string{}, "full_name": nil, "email": nil, "metadata": object{}, "enabled": true,
		"authentication_realm": realm, "lookup_realm": realm, "authentication_type": kind,
	}
}

// serviceAccounts lists the accounts that exist: all, those of a namespace, or one.
// Their roles are empty, since this server has nothing to permit.
func (s *server) serviceAccounts(w http.ResponseWriter, r *http.Request, _ evict.User) {
	namespace, service := r.PathValue("namespace"), r.PathValue("service")
	body := object{}
	for _, account := range s.accounts {
		if (namespace == "" || namespace == account.Namespace) && (service == "" || service == account.Service) {
			body[account.String()] = object{"role_descriptor": object{
				"cluster": []string{}, "indices": []string{}, "applications": []string{}, "run_as": []string{},
				"metadata": object{}, "transient_metadata": object{"enabled": true},
			}}
		}
	}
	reply(w, r, http.StatusOK, body)
}

// credentials lists the tokens of an account: those of the index, which all nodes
// share, and those of this node's file.
func (s *server) credentials(w http.ResponseWriter, r *http.Request, _ evict.User) {
	account := tokenID(r).Account
	if err := account.Validate(); err != nil {
		fail(w, r, http.StatusBadRequest, "illegal_argument_exception", err.Error())
		return
	}
	tokens, fileTokens := object{}, object{}
	docs, err := s.index.List(r.Context(), account)
	if err != nil {
		fail(w, r, http.StatusServiceUnavailable, "exception", err.Error())
		return
	}
	for _, doc := range docs {
		tokens[doc.Token.Name] = object{}
	}
	for _, id := range s.file.List() {
		if id.Account == account {
			fileTokens[id.Name] = object{"nodes": []string{s.node.name}}
		}
	}
	reply(w, r, http.StatusOK, object{
		"service_account": account.String(),
		"count":           len(tokens) + len(fileTokens),
		"tokens":          tokens,
		"nodes_credentials": object{
			"_nodes":      object{"total": 1, "successful": 1, "failed": 0},
			"file_tokens": fileTokens,
		},
	})
}

// createToken creates a token in the index. Without a name it gets one.
func (s *server) createToken(w http.ResponseWriter, r *http.Request, user evict.User) {
	id := tokenID(r)
	if id.Name == "" {
		id.Name = "token_" + strings.ToLower(rand.Text())
	}
	if err := id.Validate(); err != nil {
		fail(w, r, http.StatusBadRequest, "illegal_argument_exception", err.Error())
		return
	}
	if !s.known(id.Account) {
		fail(w, r, http.StatusBadRequest, "illegal_argument_exception", fmt.Sprintf("service account [%s] does not exist", id.Account))
		return
	}
	token, err := s.index.Create(r.Context(), id, user.Name)
	switch {
	case err == nil:
		reply(w, r, http.StatusOK, object{"created": true, "token": object{"name": id.Name, "value": token.RevealBearer()}})
	case errors.Is(err, indexsource.ErrExists):
		fail(w, r, http.StatusConflict, "version_conflict_engine_exception", err.Error())
	default:
		fail(w, r, http.StatusServiceUnavailable, "exception", err.Error())
	}
}

// deleteToken deletes a token of the index, which evicts it before it returns.
func (s *server) deleteToken(w http.ResponseWriter, r *http.Request, _ evict.User) {
	found, err := s.index.Delete(r.Context(), tokenID(r))
	switch {
	case err != nil:
		fail(w, r, http.StatusServiceUnavailable, "exception", err.Error())
	case !found:
		reply(w, r, http.StatusNotFound, object{"found": false})
	default:
		reply(w, r, http.StatusOK, object{"found": true})
	}
}

func (s *server) stats(w http.ResponseWriter, r *http.Request, _ evict.User) {
	st := s.file.Status()
	file := object{"path": s.file.Path(), "tokens": st.Tokens, "loaded": st.Time, "changed": st.Changed, "error": nil}
	if st.Err != nil {
		file["error"] = st.Err.Error()
	}
	reply(w, r, http.StatusOK, object{
		"caches":         object{"file": s.fileCache.Stats(), "index": s.indexCache.Stats()},
		"service_tokens": file,
	})
}

// audit notes an eviction that an operator asked for, and returns its number.
func (s *server) audit(ctx context.Context, user evict.User, report evict.Report) int {
	s.logger.InfoContext(ctx, "evicted", "user", user.Name, "selector", report.Selector.String(), "evicted", report.Evicted, "took", report.Took)
	return s.journal.add(user.Name, report)
}

// known reports whether the account exists.
func (s *server) known(account tokencache.Account) bool { return slices.Contains(s.accounts, account) }

// tokenID reads the path's parts, unchecked.
func tokenID(r *http.Request) tokencache.TokenID {
	account := tokencache.Account{Namespace: r.PathValue("namespace"), Service: r.PathValue("service")}
	return account.TokenID(r.PathValue("name"))
}
