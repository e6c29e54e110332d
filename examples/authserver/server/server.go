package server

import (
	"crypto/rand"
	"errors"
	"fmt"
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
	indexState func() indexsource.State
	indexCache *tokencache.Cache[indexsource.Document]
	evictor    evict.Evictor
	fleet      *fleet.Node // nil: the server is alone
	maxWait    time.Duration
	journal    journal // of what operators did, and of failed logins
	rates      rates
	node       node
	version    string // of Elasticsearch, for clients that ask
	logger     *slog.Logger
}

type node struct{ name, id string }

const clusterName = "svctoken"

type object map[string]any

// whoami tells callers who they are.
func (s *server) whoami(w http.ResponseWriter, r *http.Request, c caller) {
	if c.verdict == nil {
		eswire.Reply(w, r, http.StatusOK, identity(c.Name, "realm", object{"name": "operators", "type": "file"}))
		return
	}
	body := identity(c.Name, "token", object{"name": "_service_account", "type": "_service_account"})
	body["full_name"] = "Service account - " + c.Name
	body["token"] = object{"name": c.verdict.Token.Name, "type": "_service_account_" + c.verdict.Cache}
	body["metadata"] = object{"_elastic_service_account": true}
	eswire.Reply(w, r, http.StatusOK, body)
}

func identity(name, kind string, realm object) object {
	return object{
		"username": name, "roles": []string{}, "full_name": nil, "email": nil, "metadata": object{}, "enabled": true,
		"authentication_realm": realm, "lookup_realm": realm, "authentication_type": kind,
	}
}

// serviceAccounts lists the accounts that exist, with their roles: all, those of a
// namespace, or one.
func (s *server) serviceAccounts(w http.ResponseWriter, r *http.Request, _ caller) {
	namespace, service := r.PathValue("namespace"), r.PathValue("service")
	body := object{}
	for _, account := range s.accounts {
		if (namespace == "" || namespace == account.Namespace) && (service == "" || service == account.Service) {
			body[account.String()] = object{"role_descriptor": roleOf(account)}
		}
	}
	eswire.Reply(w, r, http.StatusOK, body)
}

// checkAccount checks the names of the path.
func checkAccount(_ http.ResponseWriter, r *http.Request) *eswire.Error {
	if err := tokenID(r).Account.Validate(); err != nil {
		return eswire.Illegal(eswire.Plain(err))
	}
	return nil
}

// credentials lists the tokens of an account: those of the index, which all nodes
// share, and those of this node's file.
func (s *server) credentials(w http.ResponseWriter, r *http.Request, _ caller) {
	account := tokenID(r).Account
	docs, err := s.index.List(r.Context(), account)
	if err != nil {
		failed(w, r, err)
		return
	}
	tokens, fileTokens := object{}, object{}
	for _, doc := range docs {
		tokens[doc.Token.Name] = object{}
	}
	for _, id := range s.file.List() {
		if id.Account == account {
			fileTokens[id.Name] = object{"nodes": []string{s.node.name}}
		}
	}
	eswire.Reply(w, r, http.StatusOK, object{
		"service_account": account.String(),
		"count":           len(tokens) + len(fileTokens),
		"tokens":          tokens,
		"nodes_credentials": object{
			"_nodes":      object{"total": 1, "successful": 1, "failed": 0},
			"file_tokens": fileTokens,
		},
	})
}

// checkCreate checks the names of the path, but for a token's that is not given.
func checkCreate(w http.ResponseWriter, r *http.Request) *eswire.Error {
	if err := checkRefresh(w, r); err != nil {
		return err
	}
	id := tokenID(r)
	err := id.Account.Validate()
	if err == nil && id.Name != "" {
		err = id.Validate()
	}
	if err != nil {
		reason := "Validation Failed: 1: " + eswire.Plain(err) + ";"
		return &eswire.Error{Status: http.StatusBadRequest, Type: eswire.ValidationFailed, Reason: reason}
	}
	return nil
}

// checkRefresh checks a parameter that says when a search must find what changed.
// Here that is at once.
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
		eswire.Fail(w, r, eswire.Illegal(fmt.Sprintf("service account [%s] does not exist", id.Account)))
		return
	}
	token, err := s.index.Create(r.Context(), id, c.Name)
	switch {
	case err == nil:
		s.changed(r.Context(), c.Name, "created", id)
		eswire.Reply(w, r, http.StatusOK, object{"created": true, "token": object{"name": id.Name, "value": token.RevealBearer()}})
	case errors.Is(err, indexsource.ErrExists):
		reason := eswire.Bracket(indexsource.DocumentID(id)) + ": version conflict, document already exists"
		eswire.Fail(w, r, &eswire.Error{Status: http.StatusConflict, Type: eswire.VersionConflict, Reason: reason})
	default:
		s.changeFailed(r.Context(), c.Name, "created", id, err)
		failed(w, r, err)
	}
}

// deleteToken deletes a token of the index, which evicts it before it returns.
func (s *server) deleteToken(w http.ResponseWriter, r *http.Request, c caller) {
	id := tokenID(r)
	found, err := s.index.Delete(r.Context(), id)
	switch {
	case err != nil:
		s.changeFailed(r.Context(), c.Name, "deleted", id, err)
		failed(w, r, err)
	case !found:
		eswire.Reply(w, r, http.StatusNotFound, object{"found": false})
	default:
		s.changed(r.Context(), c.Name, "deleted", id)
		eswire.Reply(w, r, http.StatusOK, object{"found": true})
	}
}

// failed answers where the index cannot do at present what was asked.
func failed(w http.ResponseWriter, r *http.Request, err error) {
	eswire.Fail(w, r, &eswire.Error{Status: http.StatusServiceUnavailable, Type: eswire.Unspecified, Reason: eswire.Plain(err)})
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
	}
	if view := s.fleetView(); view != nil {
		body["fleet"] = view.object()
	}
	eswire.Reply(w, r, http.StatusOK, body)
}

// known reports whether the account exists.
func (s *server) known(account tokencache.Account) bool { return slices.Contains(s.accounts, account) }

// tokenID reads the path's parts, unchecked.
func tokenID(r *http.Request) tokencache.TokenID {
	account := tokencache.Account{Namespace: r.PathValue("namespace"), Service: r.PathValue("service")}
	return account.TokenID(r.PathValue("name"))
}
