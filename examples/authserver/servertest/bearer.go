package servertest

import (
	"fmt"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

// BearerInEveryField sends a bearer, and a password, in every field of every route but
// the right one, stops the server, and checks that neither is repeated in an answer, on
// the page or in the log. The callers are USER:PASSWORD.
func BearerInEveryField(t *testing.T, p *Process, callers ...string) {
	t.Helper()
	const (
		bearer   = "AAEAAWVsYXN0aWMvZmxlZXQtc2VydmVyL3Rva2VuMTpzdXBlcnNlY3JldA" // elastic/fleet-server/token1:supersecret
		password = "a-password-that-nobody-may-see"
		route    = "/_security/service/elastic/fleet-server/credential/token/"
	)
	admin := callers[0]
	var shown strings.Builder
	send := func(method, path, credentials string, form url.Values, headers ...string) {
		t.Helper()
		resp, body := p.Send(method, path, credentials, form, headers...)
		fmt.Fprintln(&shown, method, resp.StatusCode, resp.Header, body)
		if resp.StatusCode == 200 && method != "GET" && method != "HEAD" || resp.StatusCode >= 500 {
			t.Errorf("%s %.60s: got %d %s", method, path, resp.StatusCode, body)
		}
	}
	for _, method := range []string{"GET", "POST", "PUT", "DELETE", "PATCH"} {
		for _, path := range []string{
			"/" + bearer, "/_security/" + bearer, "/_security/service/" + bearer, "/_security/service/elastic/" + bearer, "/_security/service/" + bearer + "/fleet-server",
			"/_security/service/" + bearer + "/fleet-server/credential", "/_security/service/elastic/" + bearer + "/credential",
			"/_security/service/" + bearer + "/fleet-server/credential/token/a", "/_security/service/elastic/" + bearer + "/credential/token/a", route + bearer,
			route + bearer + "/_clear_cache", route + "a," + bearer + "/_clear_cache", route + "a/_clear_cache?x=" + bearer, route + "a/_clear_cache?" + bearer,
			route + "a?refresh=" + bearer, route + "a?" + bearer, "/?" + bearer, "/_stats?pretty=" + bearer, "/_stats?format=" + bearer,
			"/_security/service?type=" + bearer, "/_cluster/health?wait_for_status=" + bearer, "/_cluster/health?timeout=" + bearer,
			route + "Bearer%20" + bearer, route + "Bearer%20" + bearer + "/_clear_cache", route + "%20" + bearer,
		} {
			for _, caller := range append(callers, "") {
				send(method, path, caller, nil)
			}
		}
	}
	for _, form := range []url.Values{
		{"account": {bearer}, "names": {"a"}}, {"account": {"elastic/" + bearer}, "names": {"a"}}, {"account": {"elastic/fleet-server"}, "names": {"a, " + bearer}},
		{"account": {"elastic/fleet-server"}, "names": {bearer}}, {"account": {"elastic/fleet-server"}, "names": {"Bearer " + bearer}},
	} {
		send("POST", "/", admin, form, "Accept", "text/html")
		send("GET", "/?"+form.Encode(), admin, nil, "Accept", "text/html")
	}
	send("GET", "/", bearer+":", nil)
	send("GET", "/", bearer+":x", nil)
	send("GET", "/", password+":", nil)
	send("GET", "/", password+":admin", nil)
	send("GET", "/", admin, nil, "es-security-runas-user", bearer)
	send("GET", "/", admin, nil, "Accept", bearer)
	send("POST", "/", admin, url.Values{}, "Origin", "http://"+bearer)
	send("GET", "/", admin, nil, "Accept", "text/html")
	send("GET", "/_stats", admin, nil)
	shown.WriteString(p.Stop(syscall.SIGTERM))
	for _, secret := range []string{bearer[5:], "supersecret", "nobody-may-see"} {
		if i := strings.Index(shown.String(), secret); i >= 0 {
			t.Errorf("%s is repeated: %s", secret, shown.String()[max(0, i-500):i+100])
		}
	}
}
