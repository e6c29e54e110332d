package evict

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/svctoken/svctoken/internal/eswire"
	"github.com/svctoken/svctoken/tokencache"
)

// A Handler serves the clear-cache route:
//
//	POST /_security/service/{namespace}/{service}/credential/token/{names}/_clear_cache
//
// It reads the request's path itself, so that it can be mounted under a prefix, with
// HandlerConfig.Prefix or inside http.StripPrefix.
// As a pattern of http.ServeMux it works except for the empty list of names,
// …/token//_clear_cache, which the mux redirects before any handler sees it;
// [Handler.Wrap] goes round the mux.
//
// In the names, a percent-encoded comma separates like a plain one. Unlike [Parse], the
// handler takes an empty list and _all for every token of the account, and drops empty
// names at the end: that is what Elasticsearch does.
//
// The answer comes after the eviction has taken effect, on other nodes too if the
// [Evictor] reaches them. Nodes that have not confirmed it by then, see
// HandlerConfig.MaxWait, are counted as failed in an answer with status 200, as
// Elasticsearch does it. If it is not known which nodes there are, the answer is 503 with
// the Evictor's error, and without Retry-After: the eviction goes on, and nobody knows for
// how long. If there are nodes that the Evictor can neither count nor wait for, see
// Report.Others, the header X-Svctoken-Others says so.
//
// Requests are checked in this order: method (405), several Authorization headers
// (400), credentials (401, or 503 if they cannot be checked), query, body and names
// (400, or 406 for a format other than JSON), privilege (403). OPTIONS is answered with
// the method that there is. Of the query parameters that every route of Elasticsearch
// takes, filter_path and pretty shape the answer, and human, error_trace and format=json
// change nothing; others are refused.
//
// A body is refused by its announced length. One that comes without a length is
// read for five seconds at most, if the server can set deadlines; set
// http.Server.ReadTimeout too.
//
// It is safe for concurrent use by multiple goroutines.
type Handler struct {
	ev           Evictor
	authenticate func(*http.Request) (User, bool, error)
	cfg          HandlerConfig
	prefix       []string // the parts of cfg.Prefix
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

	// MaxWait is how long a request waits for other nodes to confirm the eviction,
	// which goes on afterwards. Zero: 30 s. Negative: as long as the Evictor takes.
	MaxWait time.Duration

	// Prefix is what the path has before /_security, such as "/api": exactly that.
	// Slashes at its ends do not count. Empty: nothing. Inside http.StripPrefix, which
	// takes the prefix from the path, it is empty.
	Prefix string

	// Challenges are the values of the WWW-Authenticate header of a 401, one for each
	// scheme that the host takes. A service token that is sent to a host with no challenge
	// for Bearer has not failed to authenticate: the answer says that none is taken here.
	// Nil: for Basic with the realm and charset UTF-8, and for Bearer with the realm.
	Challenges []string

	// Realm is what the challenges name, if Challenges is nil. It must have no quotes and
	// no backslashes. Empty: security.
	Realm string

	// Header is set on each response, in place of what the host has set under the same
	// names. Official Elasticsearch clients insist on X-Elastic-Product: Elasticsearch.
	Header http.Header

	// Audit is called after each eviction that was asked for over HTTP, before the
	// answer. Not every node of the report may have confirmed the eviction, and the
	// report may lack nodes if it is not known which there are. The context does not
	// end with the request. Nil: it is not called.
	Audit func(context.Context, User, Report)
}

const (
	defaultMaxNames = 1000
	defaultMaxWait  = 30 * time.Second // twice the lease of a fleet
)

// NewHandler returns a handler which evicts through ev.
//
// Authenticate says who sent a request, from its credentials, or false if they are
// missing or wrong. With false, the user's name is what the answer calls the user of
// basic credentials; empty: the name in the request, which may be a password that
// somebody has typed there. Its error means that it cannot tell at present; the client
// gets 503, with Retry-After if the error wraps a [*tokencache.NoAnswerError] that says
// when to try again, and learns nothing else of the error.
//
// A request with the header es-security-runas-user asks to act as another user. A host
// that lets the sender do so returns that user. If the name of the user that it returns
// is another one, the answer is 403.
func NewHandler(
	ev Evictor,
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
	if cfg.MaxWait == 0 {
		cfg.MaxWait = defaultMaxWait
	}
	if cfg.Challenges == nil {
		cfg.Challenges = eswire.Challenges(cmp.Or(cfg.Realm, "security"))
	}
	cfg.Challenges = slices.Clone(cfg.Challenges)
	header := make(http.Header)
	for name, values := range cfg.Header {
		header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	cfg.Header = header
	return &Handler{ev, authenticate, cfg, prefixParts(cfg.Prefix)}
}

func prefixParts(prefix string) []string {
	if prefix = strings.Trim(prefix, "/"); prefix == "" {
		return nil
	}
	return strings.Split(prefix, "/")
}

// Wrap returns a handler that answers the requests of this route, whatever their
// method, and passes all others to next.
func (h *Handler) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := h.parseRoute(r.URL); ok {
			h.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, values := range h.cfg.Header {
		w.Header()[name] = slices.Clone(values)
	}
	route, ok := h.parseRoute(r.URL)
	if !ok {
		eswire.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		eswire.MethodNotAllowed(w, r, http.MethodPost)
		return
	}
	if wrong := eswire.Ambiguous(r); wrong != nil {
		eswire.Fail(w, r, wrong)
		return
	}
	user, ok, err := h.authenticate(r)
	if err != nil {
		eswire.CannotTell(w, r, err)
		return
	}
	if !ok {
		eswire.Unauthorized(w, r, h.cfg.Challenges, user.Name)
		return
	}
	sel, wrong := h.selector(w, r, route)
	if wrong == nil {
		wrong = user.denied(r)
	}
	if wrong != nil {
		eswire.Fail(w, r, wrong)
		return
	}
	h.evict(w, r, user, sel)
}

func (h *Handler) evict(w http.ResponseWriter, r *http.Request, user User, sel tokencache.Selector) {
	ctx := WithUser(r.Context(), user)
	if h.cfg.MaxWait > 0 {
		limited, cancel := context.WithTimeout(ctx, h.cfg.MaxWait)
		defer cancel()
		ctx = limited
	}
	report, err := h.ev.EvictSelector(ctx, sel)
	report.Selector = sel // after a failure the Evictor may leave it out
	if h.cfg.Audit != nil {
		h.cfg.Audit(context.WithoutCancel(ctx), user, report)
	}
	if err != nil && !slices.ContainsFunc(report.Nodes, func(n Node) bool { return n.Err != nil }) {
		eswire.Fail(w, r, &eswire.Error{Status: http.StatusServiceUnavailable, Type: eswire.Unspecified, Reason: eswire.Plain(err)})
		return
	}
	if report.Others != "" {
		w.Header().Set("X-Svctoken-Others", report.Others)
	}
	eswire.Reply(w, r, http.StatusOK, h.body(report))
}

// selector reads what to evict, and refuses a request that asks for anything else.
func (h *Handler) selector(w http.ResponseWriter, r *http.Request, route route) (tokencache.Selector, *eswire.Error) {
	if err := eswire.Check(w, r); err != nil {
		return tokencache.Selector{}, err
	}
	if n := 1 + strings.Count(route.names, ","); h.cfg.MaxNames > 0 && n > h.cfg.MaxNames {
		return tokencache.Selector{}, eswire.Illegal(fmt.Sprintf("the request lists %d names, and %d are allowed", n, h.cfg.MaxNames))
	}
	sel, err := parseWire(route.namespace, route.service, route.names)
	if err != nil {
		return tokencache.Selector{}, eswire.Illegal(err.reason())
	}
	return sel, nil
}

// A route is the variable parts of a path.
type route struct{ namespace, service, names string }

var routePattern = eswire.NewPattern("/_security/service/{namespace}/{service}/credential/token/{names}/_clear_cache")

// parseRoute reads a path, which begins with the handler's prefix.
func (h *Handler) parseRoute(u *url.URL) (route, bool) {
	parts := eswire.Segments(u)
	n := len(parts) - len(routePattern)
	if n < 0 || !slices.Equal(parts[:n], h.prefix) {
		return route{}, false
	}
	values, ok := routePattern.Match(parts[n:])
	return route{values["namespace"], values["service"], values["names"]}, ok
}
