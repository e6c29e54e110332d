package main

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/svctoken/svctoken/examples/authserver/servertest"
)

// TestEveryRoute: each route checks the sender (401), then the request (400, 406), then
// the privilege (403), and has what all routes have in common. The page's form is not one
// of Elasticsearch's requests: it has a body, and no media type.
func TestEveryRoute(t *testing.T) {
	p := servertest.Start(t, "-admin", admin)
	kibana := p.Create("/_security/service/elastic/kibana/credential/token/t", admin) // a role without read_security and more
	const anybody, monitor, manage = "anybody", "monitor", "manage"
	for _, route := range []struct{ method, path, permits string }{
		{"GET", "/_security/_authenticate", anybody},
		{"GET", "/_security/service", manage},
		{"GET", "/_security/service/elastic", manage},
		{"GET", "/_security/service/elastic/kibana", manage},
		{"GET", credential, manage},
		{"POST", credential + "/token", manage},
		{"POST", credential + "/token/a", manage},
		{"PUT", credential + "/token/a", manage},
		{"DELETE", credential + "/token/a", manage},
		{"POST", credential + "/token/a/_clear_cache", manage},
		{"POST", credential + "/token//_clear_cache", manage},
		{"GET", "/", monitor},
		{"HEAD", "/", monitor},
		{"GET", "/_stats", monitor},
		{"POST", "/", manage},
	} {
		t.Run(route.method+" "+route.path, func(t *testing.T) {
			form := route.method == "POST" && route.path == "/"
			denied := 403
			if route.permits != manage {
				denied = 200
			}
			for _, test := range []struct {
				name, query, user, accept string
				body                      url.Values
				want                      int
			}{
				{"nobody, and all wrong", "?x&format=yaml", "", "application/yaml", url.Values{"a": {"b"}}, 401},
				{"a wrong password, and all wrong", "?x", "admin:guess", "", url.Values{"a": {"b"}}, 401},
				{"may not, and a parameter", "?x", kibana, "", nil, 400},
				{"may not, and no boolean", "?human=1", kibana, "", nil, 400},
				{"may not, and a body", "", kibana, "", url.Values{"a": {"b"}}, 400},
				{"may not, and a format", "?format=cbor", kibana, "", nil, 406},
				{"may not, and a media type", "", kibana, "application/yaml", nil, 406},
				{"may not, and a version", "", kibana, "application/vnd.elasticsearch+json;compatible-with=7", nil, 400},
				{"may not", "?pretty&human&error_trace=false&filter_path=x&format=json", kibana, "", nil, denied},
				{"a slash at the end", "", "", "", nil, 401},
			} {
				if form && (test.body != nil && test.want == 400 || test.accept != "" && test.want != 401) {
					continue
				}
				path := route.path
				if test.name == "a slash at the end" && path != "/" {
					path += "/"
				}
				headers := []string{"X-Opaque-Id", "mine"}
				if test.accept != "" {
					headers = append(headers, "Accept", test.accept)
				}
				resp, body := p.Send(route.method, path+test.query, test.user, test.body, headers...)
				if resp.StatusCode != test.want {
					t.Errorf("%s: got %d %s, want %d", test.name, resp.StatusCode, body, test.want)
				}
				if got := resp.Header.Values("X-Opaque-Id"); len(got) != 1 || got[0] != "mine" {
					t.Errorf("%s: got id %q", test.name, got)
				}
				if resp.StatusCode == 401 && len(resp.Header.Values("WWW-Authenticate")) != 2 {
					t.Errorf("%s: got challenges %q", test.name, resp.Header.Values("WWW-Authenticate"))
				}
			}
			resp, body := p.Send(http.MethodOptions, route.path, "", nil)
			if allowed := strings.Split(resp.Header.Get("Allow"), ","); resp.StatusCode != 200 || body != "" || !slices.Contains(allowed, route.method) {
				t.Errorf("options: got %d, %q %s", resp.StatusCode, allowed, body)
			}
			resp, _ = p.Send("PATCH", route.path, admin, nil)
			if allowed := strings.Split(resp.Header.Get("Allow"), ","); resp.StatusCode != 405 || !slices.Contains(allowed, route.method) {
				t.Errorf("another method: got %d, %q", resp.StatusCode, allowed)
			}
		})
	}
}
