package evict

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/svctoken/svctoken/internal/quote"
	"github.com/svctoken/svctoken/tokencache"
)

// A Handler serves the clear-cache route:
//
//	POST /_security/service/{namespace}/{service}/credential/token/{names}/_clear_cache
//
// It reads the end of the request's path itself, so that it can be mounted under
// any prefix, with or without http.StripPrefix. As a pattern of http.ServeMux it
// works but for the empty list of names, …/token//_clear_cache, which the mux
// redirects before any handler sees it; [Handler.Wrap] goes round the mux.
//
// In the names, a percent-encoded comma separates like a plain one. Other than in
// [Parse], an empty list and _all mean every token of the account, and empty names
// at the end are dropped: that is what Elasticsearch does.
//
// The answer comes after the eviction has taken effect. Requests are checked in
// this order: method (405), credentials (401), query, body and names (400),
// privilege (403).
//
// It is safe for concurrent use by multiple goroutines.
type Handler struct {
	ev           Applier
	authenticate func(*http.Request) (User, bool, error)
	cfg          HandlerConfig
}

// An Applier evicts what a selector selects: an [Evictor], or what takes its place
// where other nodes are to be reached too. When Apply returns without an error, no
// authentication that starts afterwards gets an answer from before. It must be safe
// for concurrent use by multiple goroutines.
type Applier interface {
	Apply(ctx context.Context, sel tokencache.Selector) (Report, error)
}

var _ Applier = (*Evictor)(nil)

// A User is who asks for an eviction.
type User struct {
	Name string
	// Privileges are the user's cluster privileges. An eviction takes
	// manage_security, or all, which includes it.
	Privileges []string
}

// HandlerConfig holds the options of a [Handler]. The zero value is the
// recommended production setting.
type HandlerConfig struct {
	ClusterName string // as the answer names it; empty: svctoken
	NodeID      string // of this process; empty: random, anew for each Handler
	NodeName    string // of this process; empty: the host name

	// MaxNames is how many names a request may list. Zero: 1000. Negative: as many
	// as the server's limit on headers lets through.
	MaxNames int

	// Header is added to each response. Official Elasticsearch clients insist on
	// X-Elastic-Product: Elasticsearch.
	Header http.Header

	// Audit is called after each eviction that was asked for over HTTP, before the
	// answer. Nil: it is not.
	Audit func(context.Context, User, Report)
}

const defaultMaxNames = 1000

// NewHandler returns a handler which evicts through ev, an [Evictor] or what takes
// its place.
//
// Authenticate says who sent a request, from its credentials, or false where they
// are missing or wrong. Its error means that it cannot tell at present; the client
// gets 503, and the error goes no further.
func NewHandler(
	ev Applier,
	authenticate func(*http.Request) (user User, ok bool, err error),
	cfg HandlerConfig,
) *Handler {
	if cfg.ClusterName == "" {
		cfg.ClusterName = "svctoken"
	}
	if cfg.NodeID == "" {
		var b [16]byte
		rand.Read(b[:]) // documented never to fail
		cfg.NodeID = base64.RawURLEncoding.EncodeToString(b[:])
	}
	if cfg.NodeName == "" {
		cfg.NodeName, _ = os.Hostname()
	}
	if cfg.MaxNames == 0 {
		cfg.MaxNames = defaultMaxNames
	}
	cfg.Header = cfg.Header.Clone()
	return &Handler{ev, authenticate, cfg}
}

// Wrap returns a handler that answers the requests of this route, whatever their
// method, and passes all others to next.
func (h *Handler) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := parseRoute(r.URL); ok {
			h.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

const (
	action         = "cluster:admin/xpack/security/cache/clear"
	privilege      = "manage_security"
	superPrivilege = "all"
)

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := response{w, r, h.cfg.Header}
	route, ok := parseRoute(r.URL)
	if !ok {
		out.fail(http.StatusNotFound, "resource_not_found_exception", fmt.Sprintf("no handler for path %s", quote.Short(r.URL.Path)))
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		out.fail(http.StatusMethodNotAllowed, illegalArgument, fmt.Sprintf("method %s is not allowed here, allowed: [POST]", quote.Short(r.Method)))
		return
	}
	user, ok, err := h.authenticate(r)
	if err != nil {
		out.fail(http.StatusServiceUnavailable, securityException, "the user cannot be authenticated at present")
		return
	}
	if !ok {
		out.unauthorized(r)
		return
	}
	sel, err := h.selector(r, route)
	if err != nil {
		out.fail(http.StatusBadRequest, illegalArgument, err.Error())
		return
	}
	if !slices.Contains(user.Privileges, privilege) && !slices.Contains(user.Privileges, superPrivilege) {
		out.fail(http.StatusForbidden, securityException, fmt.Sprintf(
			"action [%s] is not permitted for user [%s]; the cluster privileges that permit it are [%s,%s]", action, user.Name, privilege, superPrivilege))
		return
	}
	h.evict(out, user, sel)
}

func (h *Handler) evict(out response, user User, sel tokencache.Selector) {
	ctx := out.r.Context()
	report, err := h.ev.Apply(ctx, sel)
	if err != nil {
		out.fail(http.StatusServiceUnavailable, "exception", err.Error())
		return
	}
	if h.cfg.Audit != nil {
		h.cfg.Audit(ctx, user, report)
	}
	out.json(http.StatusOK, h.body(report))
}

// selector reads what to evict, and checks that the request asks for nothing
// else.
func (h *Handler) selector(r *http.Request, route route) (tokencache.Selector, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return tokencache.Selector{}, errors.New("the query is malformed")
	}
	for name := range query {
		if !slices.Contains(commonParameters, name) {
			return tokencache.Selector{}, fmt.Errorf("request [%s] contains an unknown query parameter: %s", quote.Short(r.URL.Path), quote.Short(name))
		}
	}
	if hasBody(r) {
		return tokencache.Selector{}, fmt.Errorf("request [%s] must not have a body", quote.Short(r.URL.Path))
	}
	if n := 1 + strings.Count(route.names, ","); h.cfg.MaxNames > 0 && n > h.cfg.MaxNames {
		return tokencache.Selector{}, fmt.Errorf("the request lists %d names, and %d are allowed", n, h.cfg.MaxNames)
	}
	sel, err := parseWire(route.namespace, route.service, route.names)
	if selErr, ok := errors.AsType[*SelectorError](err); ok {
		return tokencache.Selector{}, errors.New(selErr.reason())
	}
	return sel, err
}

func hasBody(r *http.Request) bool {
	if r.Body == nil {
		return false
	}
	var b [1]byte
	n, _ := r.Body.Read(b[:])
	return n > 0 || r.ContentLength > 0
}

// A route is the variable parts of a path, decoded.
type route struct{ namespace, service, names string }

// parseRoute reads the end of a path; a trailing slash does not matter.
func parseRoute(u *url.URL) (route, bool) {
	parts := strings.Split(strings.TrimSuffix(u.EscapedPath(), "/"), "/")
	if len(parts) < 8 {
		return route{}, false
	}
	parts = parts[len(parts)-8:]
	for i, part := range parts {
		decoded, err := url.PathUnescape(part)
		if err != nil {
			return route{}, false
		}
		parts[i] = decoded
	}
	fixed := parts[0] == "_security" && parts[1] == "service" && parts[4] == "credential" && parts[5] == "token" && parts[7] == "_clear_cache"
	return route{namespace: parts[2], service: parts[3], names: parts[6]}, fixed
}
