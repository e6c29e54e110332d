package server

import (
	"context"
	"net/http"
	"strings"

	"github.com/svctoken/svctoken/evict"
	"github.com/svctoken/svctoken/internal/eswire"
)

// A route answers the requests of one method and path. They are checked in the
// order of its fields.
type route struct {
	method, path string // a part of the path in braces stands for any, by that name
	params       []string
	check        func(http.ResponseWriter, *http.Request) *eswire.Error // instead of the usual one, if any
	action       string
	privileges   []string // any of which permits the action; none: whoever is authenticated
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
	return []route{
		{method: "GET", path: "/_security/_authenticate", handle: s.whoami},
		{method: "GET", path: service, action: accounts, privileges: mayRead, handle: s.serviceAccounts},
		{method: "GET", path: service + "/{namespace}", action: accounts, privileges: mayRead, handle: s.serviceAccounts},
		{method: "GET", path: service + "/{namespace}/{service}", action: accounts, privileges: mayRead, handle: s.serviceAccounts},
		{method: "GET", path: credential, check: checkAccount, action: list, privileges: mayRead, handle: s.credentials},
		{method: "POST", path: credential + "/token", params: refresh, check: checkCreate, action: create, privileges: mayManage, handle: s.createToken},
		{method: "POST", path: token, params: refresh, check: checkCreate, action: create, privileges: mayManage, handle: s.createToken},
		{method: "PUT", path: token, params: refresh, check: checkCreate, action: create, privileges: mayManage, handle: s.createToken},
		{method: "DELETE", path: token, params: refresh, check: checkRefresh, action: remove, privileges: mayManage, handle: s.deleteToken},
		{method: "GET", path: "/", check: checkRoot, action: "cluster:monitor/main", privileges: mayMonitor, handle: s.root},
		{method: "HEAD", path: "/", check: checkRoot, action: "cluster:monitor/main", privileges: mayMonitor, handle: s.root},
		{method: "POST", path: "/", check: checkForm, action: security + "cache/clear", privileges: mayEvict, handle: s.evictFromPage},
		{method: "GET", path: "/_stats", action: "cluster:monitor/stats", privileges: mayMonitor, handle: s.stats},
	}
}

// handler returns the server's handler. The route that clears caches comes from
// the library.
//
// Browsers send an operator's credentials by themselves, also when the page of
// somebody else sends the request; the outermost handler refuses those.
func (s *server) handler() http.Handler {
	routes := s.routes()
	own := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.dispatch(routes, w, r) })
	clear := evict.NewHandler(s.evictor, s.authenticateUser, evict.HandlerConfig{
		ClusterName: clusterName, NodeID: s.node.id, NodeName: s.node.name, MaxWait: s.maxWait,
		Audit: func(ctx context.Context, user evict.User, report evict.Report) { s.evicted(ctx, user.Name, report) },
	})
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		eswire.Fail(w, r, &eswire.Error{Status: http.StatusForbidden, Type: eswire.SecurityException, Reason: "the request comes from the page of another site"})
	}))
	all := sameOrigin.Handler(clear.Wrap(own))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Elastic-Product", "Elasticsearch")
		all.ServeHTTP(w, r)
	})
}

// dispatch finds the route of a request. It does what http.ServeMux would, but for
// slashes at the end, which do not matter, and for its errors, which have the form
// of all others.
func (s *server) dispatch(routes []route, w http.ResponseWriter, r *http.Request) {
	parts, ok := eswire.Segments(r.URL)
	var allowed []string
	for _, route := range routes {
		if !ok || !route.matches(parts) {
			continue
		}
		if route.method == r.Method {
			s.serve(route, parts, w, r)
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

// serve answers a request of the route: who is it (401), what is asked (400), is it
// permitted (403).
func (s *server) serve(route route, parts []string, w http.ResponseWriter, r *http.Request) {
	for i, part := range route.parts() {
		if name, ok := variable(part); ok {
			r.SetPathValue(name, parts[i])
		}
	}
	c, ok := s.authenticated(w, r)
	if !ok {
		return
	}
	wrong := route.wrong(w, r)
	if wrong == nil && !c.may(route.privileges...) {
		wrong = eswire.Denied(route.action, c.String(), route.privileges...)
	}
	if wrong != nil {
		eswire.Fail(w, r, wrong)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.maxWait) // other nodes, and the log, may be out of reach
	defer cancel()
	route.handle(w, r.WithContext(ctx), c)
}

// wrong returns what is wrong with the request itself.
func (route route) wrong(w http.ResponseWriter, r *http.Request) *eswire.Error {
	if route.path != "/" { // whose check knows browsers
		if err := eswire.Check(w, r, route.params...); err != nil {
			return err
		}
	}
	if route.check == nil {
		return nil
	}
	return route.check(w, r)
}

func (route route) parts() []string {
	if route.path == "/" {
		return nil
	}
	return strings.Split(route.path[1:], "/")
}

func (route route) matches(parts []string) bool {
	pattern := route.parts()
	if len(pattern) != len(parts) {
		return false
	}
	for i, part := range pattern {
		if _, ok := variable(part); !ok && part != parts[i] {
			return false
		}
	}
	return true
}

func variable(part string) (name string, ok bool) {
	name, ok = strings.CutPrefix(part, "{")
	return strings.TrimSuffix(name, "}"), ok
}
