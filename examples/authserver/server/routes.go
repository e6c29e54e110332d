package server

import (
	"context"
	"net/http"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/indexsource"
	"github.com/svctoken/svctoken/internal/eswire"
)

// A route answers the requests of one method and path. They are checked in the
// order of its fields.
type route struct {
	method, path string         // see eswire.Pattern; GET also answers HEAD
	pattern      eswire.Pattern // of the path
	params       []string
	check        func(http.ResponseWriter, *http.Request) *eswire.Error // instead of the usual one, if any
	action       string
	privileges   []string // any of them permits the action; empty: every authenticated caller may
	handle       func(http.ResponseWriter, *http.Request, caller)
}

// The privileges that permit what the routes do.
var (
	mayMonitor = []string{"monitor", "manage", "all"}
	mayRead    = []string{"read_security", "manage_service_account", "manage_security", "all"}
	mayManage  = []string{"manage_service_account", "manage_security", "all"}
	mayEvict   = []string{"manage_security", "all"}
)

func (s *server) routes() []route {
	const (
		service    = "/_security/service"
		credential = service + "/{namespace}/{service}/credential"
		token      = credential + "/token/{name}"

		security = "cluster:admin/xpack/security/"
		accounts = security + "service_account/get"
		list     = security + "service_account/credential/get"
		create   = security + "service_account/token/create"
		remove   = security + "service_account/token/delete"
	)
	refresh := []string{"refresh"}
	kinds := s.kindParams()
	routes := []route{
		{method: "GET", path: "/_security/_authenticate", action: security + "user/authenticate", handle: s.whoami},
		{method: "GET", path: service, params: kinds, check: checkKinds, action: accounts, privileges: mayRead, handle: s.serviceAccounts},
		{method: "GET", path: service + "/{namespace}", params: kinds, check: checkKinds, action: accounts, privileges: mayRead, handle: s.serviceAccounts},
		{method: "GET", path: service + "/{namespace}/{service}", params: kinds, check: checkKinds, action: accounts, privileges: mayRead, handle: s.serviceAccounts},
		{method: "GET", path: credential, check: checkAccount, action: list, privileges: mayRead, handle: s.credentials},
		{method: "POST", path: credential + "/token", params: refresh, check: checkCreate, action: create, privileges: mayManage, handle: s.createToken},
		{method: "POST", path: token, params: refresh, check: checkCreate, action: create, privileges: mayManage, handle: s.createToken},
		{method: "PUT", path: token, params: refresh, check: checkCreate, action: create, privileges: mayManage, handle: s.createToken},
		{method: "DELETE", path: token, params: refresh, check: checkDelete, action: remove, privileges: mayManage, handle: s.deleteToken},
		{method: "GET", path: "/", check: checkRoot, action: "cluster:monitor/main", privileges: mayMonitor, handle: s.root},
		{method: "HEAD", path: "/", check: checkRoot, action: "cluster:monitor/main", privileges: mayMonitor, handle: s.root},
		{method: "POST", path: "/", check: checkForm, action: security + "cache/clear", privileges: mayEvict, handle: s.evictFromPage},
		{method: "POST", path: lookUpPath, check: checkForm, action: "cluster:monitor/stats", privileges: mayMonitor, handle: s.lookUpFromPage},
		{method: "GET", path: "/_cluster/health", params: healthParams, check: checkHealth, action: "cluster:monitor/health", privileges: mayMonitor, handle: s.clusterHealth},
		{method: "GET", path: "/_stats", action: "cluster:monitor/stats", privileges: mayMonitor, handle: s.stats},
	}
	for i := range routes {
		routes[i].pattern = eswire.NewPattern(routes[i].path)
	}
	return routes
}

// handler returns the server's handler. The route that clears caches comes from
// the library.
//
// Browsers send an operator's credentials by themselves, also when somebody else's page
// sends the request; such requests are refused.
func (s *server) handler() http.Handler {
	routes := s.routes()
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.dispatch(routes, w, r) })
	clear := evict.NewHandler(audited{s}, s.authenticateUser, evict.HandlerConfig{
		ClusterName: clusterName, NodeID: s.node.id, NodeName: s.node.name, MaxWait: s.maxWait,
	})
	all := s.withHealth(s.sameOrigin(s.checkPasswords(clear.Wrap(own))))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		all.ServeHTTP(w, r)
	})
}

// sameOrigin refuses requests from pages of other sites, except those that the operator
// trusts.
func (s *server) sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	for _, origin := range s.origins {
		protection.AddTrustedOrigin(origin) // it has been checked
	}
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reason := "the request comes from the page of another site"
		if origin := r.Header.Get("Origin"); origin != "" {
			reason += ": from " + eswire.Bracket(origin) + ", to " + eswire.Bracket(r.Host) +
				"; if a proxy stands between, let it pass on the header Host, or name the page's origin with -trusted-origins"
		}
		eswire.Fail(w, r, &eswire.Error{Status: http.StatusForbidden, Type: eswire.SecurityException, Reason: reason})
	}))
	return protection.Handler(next)
}

// dispatch finds the route of a request. It works like http.ServeMux, with three
// differences: slashes at the end do not matter, percent-encoding in the fixed parts of a
// path does, and errors have the form of all others.
func (s *server) dispatch(routes []route, w http.ResponseWriter, r *http.Request) {
	parts := eswire.Segments(r.URL)
	var allowed []string
	for _, route := range routes {
		values, ok := route.pattern.Match(parts)
		if !ok {
			continue
		}
		if route.method == r.Method || route.method == http.MethodGet && r.Method == http.MethodHead {
			for name, value := range values {
				r.SetPathValue(name, value)
			}
			s.serve(route, w, r)
			return
		}
		allowed = append(allowed, route.method)
	}
	if len(allowed) == 0 {
		eswire.NotFound(w, r)
		return
	}
	eswire.MethodNotAllowed(w, r, allowed...)
}

// serve answers a request of the route. It checks the sender (401), then the request
// (400), then the privilege (403).
func (s *server) serve(route route, w http.ResponseWriter, r *http.Request) {
	c, ok := s.authenticated(w, r)
	if !ok {
		return
	}
	wrong := route.wrong(w, r)
	if wrong == nil {
		wrong = c.denied(route, r)
	}
	if wrong != nil {
		eswire.Fail(w, r, wrong)
		return
	}
	ctx := indexsource.WithActor(evict.WithUser(r.Context(), c.User), c.Name)
	ctx, cancel := context.WithTimeout(ctx, s.maxWait) // other nodes, and the log, may be out of reach
	defer cancel()
	route.handle(w, r.WithContext(ctx), c)
}

// lookUpPath is the path at which the page's form asks for tokens.
const lookUpPath = "/_look_up"

// wrong returns what is wrong with the request itself.
func (route route) wrong(w http.ResponseWriter, r *http.Request) *eswire.Error {
	if route.path != "/" && route.path != lookUpPath { // whose checks know browsers
		if err := eswire.Check(w, r, route.params...); err != nil {
			return err
		}
	}
	if route.check == nil {
		return nil
	}
	return route.check(w, r)
}
