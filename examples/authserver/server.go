package main

import (
	"crypto/rand"
	"encoding/json"
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
	group      *tokencache.Group
	file       *filesource.File
	index      *indexsource.Memory
	fileCache  *tokencache.Cache[filesource.Record]
	indexCache *tokencache.Cache[indexsource.Document]
	users      *users
	node       node
}

type node struct{ name, id string }

const clusterName = "svctoken"

// handler returns the routes. The one that clears caches comes from the library,
// and goes round the mux, which would redirect its empty list of names.
func (s *server) handler(logger *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_security/_authenticate", s.authenticate)
	mux.HandleFunc("GET /_stats", s.operator("monitor", s.stats))
	const account = "/_security/service/{namespace}/{service}"
	mux.HandleFunc("GET "+account+"/credential", s.operator("manage_service_account", s.credentials))
	create := s.operator("manage_service_account", s.createToken)
	mux.HandleFunc("POST "+account+"/credential/token", create)
	mux.HandleFunc("POST "+account+"/credential/token/{name}", create)
	mux.HandleFunc("PUT "+account+"/credential/token/{name}", create)
	mux.HandleFunc("DELETE "+account+"/credential/token/{name}", s.operator("manage_service_account", s.deleteToken))

	product := http.Header{"X-Elastic-Product": {"Elasticsearch"}}
	clear := evict.NewHandler(evict.New(s.group), s.users.authenticate, evict.HandlerConfig{
		ClusterName: clusterName, NodeID: s.node.id, NodeName: s.node.name,
		Header: product,
		Audit:  audit(logger),
	})
	return clear.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		mux.ServeHTTP(w, r)
	}))
}

// authenticate tells a service account who it is. This is what the library is for.
func (s *server) authenticate(w http.ResponseWriter, r *http.Request) {
	verdict, err := s.group.Authenticate(r.Context(), r.Header.Get("Authorization"))
	switch {
	case err == nil:
	case errors.Is(err, tokencache.ErrNotServiceToken), errors.Is(err, tokencache.ErrRefused):
		unauthorized(w, err.Error())
		return
	default:
		fail(w, http.StatusServiceUnavailable, "exception", err.Error())
		return
	}
	account := verdict.Token.Account.String()
	realm := object{"name": "_service_account", "type": "_service_account"}
	reply(w, http.StatusOK, object{
		"username":             account,
		"roles":                []string{},
		"full_name":            "Service account - " + account,
		"email":                nil,
		"token":                object{"name": verdict.Token.Name, "type": "_service_account_" + verdict.Cache},
		"metadata":             object{"_elastic_service_account": true},
		"enabled":              true,
		"authentication_realm": realm,
		"lookup_realm":         realm,
		"authentication_type":  "token",
	})
}

// operator lets those users through who hold the privilege or manage_security.
func (s *server) operator(privilege string, next func(http.ResponseWriter, *http.Request, evict.User)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		user, ok, err := s.users.authenticate(r)
		switch {
		case err != nil:
			fail(w, http.StatusServiceUnavailable, "security_exception", err.Error())
		case !ok:
			unauthorized(w, "missing or wrong credentials")
		case !slices.Contains(user.Privileges, "manage_security") && !slices.Contains(user.Privileges, privilege):
			fail(w, http.StatusForbidden, "security_exception", fmt.Sprintf("user [%s] needs the cluster privilege [%s] or [manage_security]", user.Name, privilege))
		default:
			next(w, r, user)
		}
	}
}

func (s *server) createToken(w http.ResponseWriter, r *http.Request, user evict.User) {
	id := tokenID(r)
	if id.Name == "" {
		id.Name = "token_" + strings.ToLower(rand.Text())
	}
	token, err := s.index.Create(id, user.Name)
	switch {
	case errors.Is(err, indexsource.ErrExists):
		fail(w, http.StatusConflict, "version_conflict_engine_exception", err.Error())
	case err != nil:
		fail(w, http.StatusBadRequest, "illegal_argument_exception", err.Error())
	default:
		reply(w, http.StatusOK, object{"created": true, "token": object{"name": id.Name, "value": token.RevealBearer()}})
	}
}

func (s *server) deleteToken(w http.ResponseWriter, r *http.Request, _ evict.User) {
	if s.index.Delete(tokenID(r)) {
		reply(w, http.StatusOK, object{"found": true})
	} else {
		reply(w, http.StatusNotFound, object{"found": false})
	}
}

// credentials lists the tokens of an account: those of the index, which all nodes
// share, and those of this node's file.
func (s *server) credentials(w http.ResponseWriter, r *http.Request, _ evict.User) {
	account := tokenID(r).Account
	if err := account.Validate(); err != nil {
		fail(w, http.StatusBadRequest, "illegal_argument_exception", err.Error())
		return
	}
	tokens, fileTokens := object{}, object{}
	for _, doc := range s.index.List(account) {
		tokens[doc.Token.Name] = object{}
	}
	for _, id := range s.file.List() {
		if id.Account == account {
			fileTokens[id.Name] = object{"nodes": []string{s.node.name}}
		}
	}
	reply(w, http.StatusOK, object{
		"service_account": account.String(),
		"count":           len(tokens) + len(fileTokens),
		"tokens":          tokens,
		"nodes_credentials": object{
			"_nodes":      object{"total": 1, "successful": 1, "failed": 0},
			"file_tokens": fileTokens,
		},
	})
}

func (s *server) stats(w http.ResponseWriter, _ *http.Request, _ evict.User) {
	st := s.file.Status()
	file := object{"path": s.file.Path(), "tokens": st.Tokens, "loaded": st.Time, "changed": st.Changed, "error": nil}
	if st.Err != nil {
		file["error"] = st.Err.Error()
	}
	reply(w, http.StatusOK, object{
		"caches":         object{"file": s.fileCache.Stats(), "index": s.indexCache.Stats()},
		"service_tokens": file,
	})
}

// tokenID reads the path's parts, unchecked.
func tokenID(r *http.Request) tokencache.TokenID {
	account := tokencache.Account{Namespace: r.PathValue("namespace"), Service: r.PathValue("service")}
	return account.Token(r.PathValue("name"))
}

type object map[string]any

func reply(w http.ResponseWriter, status int, body object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func fail(w http.ResponseWriter, status int, kind, reason string) {
	cause := object{"type": kind, "reason": reason}
	reply(w, status, object{"error": object{"root_cause": []object{cause}, "type": kind, "reason": reason}, "status": status})
}

func unauthorized(w http.ResponseWriter, reason string) {
	w.Header().Add("WWW-Authenticate", `Basic realm="security", charset="UTF-8"`)
	w.Header().Add("WWW-Authenticate", `Bearer realm="security"`)
	fail(w, http.StatusUnauthorized, "security_exception", reason)
}
